#include "weighted.h"

#include <algorithm>

namespace lanes::LANES_ISA {

Weighted::Weighted(Value& in, Value& out, int rows, int groups, int taps, bool has_bias, bool relu,
                   double sparse_below)
    : Op(in, out), rows_(rows), groups_(groups), taps_(taps), has_bias_(has_bias), relu_(relu),
      sparse_below_(sparse_below) {
    const double weights = static_cast<double>(rows) * groups * taps;
    if (weights > 1e9) throw std::invalid_argument("more than a billion weights in one layer are not supported");
    canonical_[VALUE].resize(static_cast<std::size_t>(rows) * columns());
    bias_[VALUE] = Buffer(padded_rows());
    bias_[GRADIENT] = Buffer(padded_rows());
}

template <class Visit>
void Weighted::for_each(const Visit& visit) const {
    for (std::size_t r = 0; r < live_rows_.size(); r++) {
        const std::size_t row = static_cast<std::size_t>(live_rows_[r]) * columns();
        if (sparse_) {
            for (std::int32_t i = row_start_[r]; i < row_start_[r + 1]; i++) visit(i, row + column_[i]);
        } else {
            for (std::size_t g = 0; g < live_groups_.size(); g++)
                for (int t = 0; t < taps_; t++)
                    visit(r * stride_ + g * taps_ + t, row + static_cast<std::size_t>(live_groups_[g]) * taps_ + t);
        }
    }
}

void Weighted::collect(int which) {
    if (!arranged_ || working_[which].empty()) return;
    for_each([&](std::size_t working, std::size_t at) { canonical_[which][at] = working_[which][working]; });
}

void Weighted::spread(int which) {
    if (!arranged_ || working_[which].empty()) return;
    for_each([&](std::size_t working, std::size_t at) { working_[which][working] = canonical_[which][at]; });
}

void Weighted::read(int which, float* weights) {
    canonical_[which].resize(canonical_[VALUE].size());
    // A weight that is not in the working form has no gradient; it may have had one under other masks.
    if (which == GRADIENT) std::fill(canonical_[which].begin(), canonical_[which].end(), 0.f);
    collect(which);
    std::copy(canonical_[which].begin(), canonical_[which].end(), weights);
    // What a dense kernel computes for a pruned weight is nobody's gradient.
    if (which == GRADIENT && !mask_.empty())
        for (std::size_t i = 0; i < mask_.size(); i++)
            if (!mask_[i]) weights[i] = 0;
}

void Weighted::write(int which, const float* weights) {
    canonical_[which].assign(weights, weights + canonical_[VALUE].size());
    for (std::size_t i = 0; i < mask_.size(); i++)
        if (!mask_[i]) canonical_[which][i] = 0;
    spread(which);
}

void Weighted::set_mask(const std::uint8_t* kept) {
    collect(VALUE);
    const std::size_t size = canonical_[VALUE].size();
    mask_.clear();
    if (kept && std::find(kept, kept + size, 0) != kept + size) mask_.assign(kept, kept + size);
    for (std::size_t i = 0; i < mask_.size(); i++)
        if (!mask_[i]) canonical_[VALUE][i] = 0;
    set_rule(Rule());
    arranged_ = false;
}

void Weighted::set_rule(const Rule& rule) {
    collect(VALUE);
    slots_ = rule.slots();
    for (int slot = 0; slot < 2; slot++) {
        const bool used = slot < slots_;
        canonical_[SLOT + slot].assign(used ? canonical_[VALUE].size() : 0, 0.f);
        working_[SLOT + slot] = Buffer();
        bias_[SLOT + slot] = used ? Buffer(padded_rows()) : Buffer();
    }
    arranged_ = false;
}

void Weighted::mark_needed() {
    // The live weights of needed outputs; what is left depends on the mask alone, not on values.
    const int positions = out.shape.positions(), in_units = in.shape.units() / groups_;
    live_rows_.clear();
    live_groups_.clear();
    std::vector<std::uint8_t> any(groups_);
    live_ = mask_;
    for (int r = 0; r < rows_; r++) {
        const std::uint8_t* unit = out.needed.data() + static_cast<std::size_t>(r) * positions;
        const bool needed = std::find(unit, unit + positions, 1) != unit + positions;
        const std::size_t row = static_cast<std::size_t>(r) * columns();
        if (!needed) {
            if (live_.empty()) live_.assign(canonical_[VALUE].size(), 1);
            std::fill_n(live_.begin() + row, columns(), 0);
            continue;
        }
        live_rows_.push_back(r);  // also without a live weight: its bias is trained
        for (int g = 0; g < groups_; g++)
            for (int t = 0; t < taps_ && !any[g]; t++)
                any[g] = live_.empty() || live_[row + static_cast<std::size_t>(g) * taps_ + t];
    }
    for (int g = 0; g < groups_; g++) {
        if (any[g]) live_groups_.push_back(g);
        std::fill_n(in.needed.begin() + static_cast<std::size_t>(g) * in_units, in_units, any[g]);
    }
}

void Weighted::rest() {
    for (int which = VALUE; which < SLOT + slots_; which++) collect(which);
    arranged_ = false;
}

void Weighted::arrange(Kernels kernels) {
    const std::size_t block = live_rows_.size() * live_groups_.size() * taps_;
    std::size_t live = block;
    if (!live_.empty()) live = std::count(live_.begin(), live_.end(), 1);
    sparse_ = kernels == Kernels::sparse ||
              (kernels == Kernels::automatic && static_cast<double>(live) < sparse_below_ * static_cast<double>(block));
    row_start_.assign(1, 0);
    column_.clear();
    index_.clear();
    kept_ = Buffer();
    const int all = columns();
    if (sparse_) {
        index_.assign(canonical_[VALUE].size(), -1);
        for (const int r : live_rows_) {
            for (int c = 0; c < all; c++) {
                const std::size_t at = static_cast<std::size_t>(r) * all + c;
                if (!live_.empty() && !live_[at]) continue;
                index_[at] = static_cast<std::int32_t>(column_.size());
                column_.push_back(c);
            }
            row_start_.push_back(static_cast<std::int32_t>(column_.size()));
        }
        stride_ = 0;
        count_ = (column_.size() + CLASSES) / CLASSES * CLASSES;  // at least one zero behind the last weight
    } else {
        stride_ = (live_groups_.size() * taps_ + CLASSES - 1) / CLASSES * CLASSES;
        count_ = live_rows_.size() * stride_;
    }
    working_[VALUE] = Buffer(count_);
    working_[GRADIENT] = Buffer(count_);
    bias_[GRADIENT].clear();
    for (int slot = 0; slot < slots_; slot++) working_[SLOT + slot] = Buffer(count_);
    arranged_ = true;
    for (int which = VALUE; which < SLOT + slots_; which++) spread(which);
    if (!sparse_ && live < block) {
        kept_ = Buffer(count_);
        auto* bits = reinterpret_cast<std::int32_t*>(kept_.data());
        for_each([&](std::size_t working, std::size_t at) { bits[working] = live_[at] ? -1 : 0; });
    }
    forward_ = GatherMap();
    backward_ = GatherMap();
    forward_.sparse = backward_.sparse = sparse_;
    make_maps();
}

void Weighted::bias_gradient(const Pass& pass) {
    if (!has_bias_) return;
    const std::size_t floats = static_cast<std::size_t>(out.shape.positions()) * TILE;
    // Some outputs at a time: the sum of one is a chain of additions that wait for each other.
    constexpr std::size_t SIDE_BY_SIDE = 8 / HALVES;
    for (std::size_t first = 0; first < live_rows_.size(); first += SIDE_BY_SIDE) {
        const std::size_t count = std::min(SIDE_BY_SIDE, live_rows_.size() - first);
        const float* gradient[SIDE_BY_SIDE];
        for (std::size_t k = 0; k < SIDE_BY_SIDE; k++)
            gradient[k] = out.gradient.data() + live_rows_[first + std::min(k, count - 1)] * out.shape.channel_floats();
        V half[SIDE_BY_SIDE][HALVES] = {};
        for (std::size_t i = 0; i < floats; i += CLASSES)
            LANES_UNROLL(8)
            for (std::size_t k = 0; k < SIDE_BY_SIDE; k++)
                LANES_UNROLL(2)
                for (int h = 0; h < HALVES; h++) half[k][h] += load(gradient[k] + i + h * WIDTH);
        for (std::size_t k = 0; k < count; k++) {
            float& total = bias_[GRADIENT][live_rows_[first + k]];
            total = (pass.first ? 0.f : total) + sum_of_classes(half[k]);
        }
    }
}

namespace {

void step_all(const Update& update, Buffer* values, std::size_t count, const Buffer& kept) {
    float *weight = values[Weighted::VALUE].data(), *gradient = values[Weighted::GRADIENT].data();
    float *first = values[Weighted::SLOT].data(), *second = values[Weighted::SLOT + 1].data();
    V none = zero();
    for (std::size_t i = 0; i < count; i += WIDTH) {
        V g = load(gradient + i);
        if (!kept.empty()) g = keep(g, reinterpret_cast<VI>(load(kept.data() + i)));
        V a = first ? load(first + i) : none, b = second ? load(second + i) : none;
        store(weight + i, update.apply(load(weight + i), g, a, b));
        if (first) store(first + i, a);
        if (second) store(second + i, b);
    }
}

}  // namespace

void Weighted::update(const Update& update) {
    if (has_bias_) step_all(update, bias_, padded_rows(), Buffer());
    if (!updated_in_backward_) step_all(update, working_, count_, kept_);
    updated_in_backward_ = false;
}

double Weighted::work() const {
    return static_cast<double>(sparse_ ? column_.size() : live_rows_.size() * live_groups_.size() * taps_) *
           out.shape.positions();
}

}  // namespace lanes::LANES_ISA
