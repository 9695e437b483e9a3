#include "network.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <limits>

namespace lanes::LANES_ISA {
namespace {

// How often a long computation asks whether it is to stop.
constexpr double ASK_SECONDS = 0.05;
// Multiply-adds of a step that takes some hundredths of a second at most. A shorter step is not interrupted,
// so its layers may be updated as soon as their gradient is known.
constexpr double SHORT_STEP = 1.5e9;

double seconds() {
    return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

// The natural logarithm in plain arithmetic: the C library's last bit is not the same everywhere.
double logarithm(double x) {
    int exponent;
    double m = std::frexp(x, &exponent);
    if (m < 0.70710678118654752) {
        m *= 2;
        exponent--;
    }
    const double z = (m - 1) / (m + 1), square = z * z;  // |z| < 0.172
    double sum = 0;
    for (int k = 21; k >= 1; k -= 2) sum = sum * square + 1.0 / k;
    return exponent * 0.69314718055994531 + 2 * z * sum;
}

typedef std::uint8_t Bytes __attribute__((vector_size(16), may_alias, aligned(1)));

// Sixteen bytes at a time, the last of which may be copied twice: a call of the library for each short row would
// take longer.
void copy_row(const std::uint8_t* from, int count, bool mirrored, std::uint8_t* to) {
    constexpr int SIDE = sizeof(Bytes);
    if (count < SIDE) {
        for (int i = 0; i < count; i++) to[mirrored ? count - 1 - i : i] = from[i];
        return;
    }
    for (int done = 0; done < count; done += SIDE) {
        const int at = std::min(done, count - SIDE);
        Bytes part = *reinterpret_cast<const Bytes*>(from + at);
        if (mirrored) part = __builtin_shufflevector(part, part, 15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0);
        *reinterpret_cast<Bytes*>(to + (mirrored ? count - SIDE - at : at)) = part;
    }
}

// Bytes of zero outside the image are pixels of zero: they are normalised with the others.
void copy_view(const std::uint8_t* image, const Shape& shape, const View& view, std::uint8_t* to) {
    const int width = shape.width, height = shape.height;
    const int top = std::max(0, -view.down), bottom = std::min(height, height - view.down);
    const int begin = std::max(0, -view.right), end = std::min(width, width - view.right);
    std::memset(to, 0, static_cast<std::size_t>(shape.units()));
    for (int channel = 0; channel < shape.channels; channel++)
        for (int row = top; row < bottom; row++) {
            const std::uint8_t* source = image + (channel * height + row + view.down) * width + (begin + view.right);
            std::uint8_t* target = to + (channel * height + row) * width + (view.mirrored ? width - end : begin);
            copy_row(source, end - begin, view.mirrored, target);
        }
}

}  // namespace

// Asks now and then, and gives the step up.
class Network::Watch {
  public:
    explicit Watch(const Interrupted& interrupted) : interrupted_(interrupted), asked_(seconds()) {}
    void look() {
        const double now = seconds();
        if (now - asked_ < ASK_SECONDS) return;
        const bool stop = interrupted_();
        asked_ = seconds();
        if (stop) throw Given_up();
    }

  private:
    const Interrupted& interrupted_;
    double asked_;
};

Network::Network(int channels, int height, int width, std::vector<OpSpec> specs) {
    if (specs.empty()) throw std::invalid_argument("a network needs at least one operation");
    values_.push_back(std::make_unique<Value>());
    values_.back()->shape = checked(channels, height, width, "the image");
    values_.back()->wants_gradient = false;
    for (OpSpec& spec : specs) {
        const int index = static_cast<int>(ops_.size());
        spec.index = index;
        // Values with several users come with the operations that join them.
        if (spec.inputs.size() != 1 || spec.inputs[0] != index)
            throw std::invalid_argument("operation " + std::to_string(index) + " (" + spec.kind +
                                        ") must read the value before it");
        const OpKind& kind = op_kind(spec.kind);
        Value& in = *values_[index];
        auto out = std::make_unique<Value>();
        out->shape = kind.shape(spec, in.shape);
        values_.push_back(std::move(out));
        ops_.push_back(kind.make(spec, in, *values_.back()));
        if (Weighted* layer = ops_.back()->weighted()) layers_.push_back(layer);
        // What lies before the first weights needs no gradient.
        values_.back()->wants_gradient = !layers_.empty();
    }
    if (values_.back()->shape.positions() != 1)
        throw std::invalid_argument("the last operation must give one number for each class");
    for (auto& value : values_) {
        value->data = Buffer(value->shape.floats());
        if (value->wants_gradient) value->gradient = Buffer(value->shape.floats());
        value->needed.assign(value->shape.units(), 1);
    }
    Value& image = *values_.front();
    image.row_stride = (image.shape.units() + CLASSES - 1) / CLASSES * CLASSES;
    image.rows = Buffer(image.row_stride * TILE);
    scale_ = Buffer(image.row_stride);
    shift_ = Buffer(image.row_stride);
    std::fill_n(scale_.data(), image.shape.units(), 1.f);
}

Weighted& Network::layer(int op) {
    if (op < 0 || op >= static_cast<int>(ops_.size()) || !ops_[op]->weighted())
        throw std::invalid_argument("operation " + std::to_string(op) + " has no weights");
    return *ops_[op]->weighted();
}

void Network::set_input(const float* scale, const float* shift) {
    const Shape& shape = values_.front()->shape;
    for (int u = 0; u < shape.units(); u++) {
        scale_[u] = scale[u / shape.positions()];
        shift_[u] = shift[u / shape.positions()];
    }
}

void Network::set_mask(int op, const std::uint8_t* kept) {
    layer(op).set_mask(kept);
    set_rule(Rule());
}

void Network::set_kernels(Kernels kernels) {
    kernels_ = kernels;
    arranged_ = false;
}

void Network::set_rule(const Rule& rule) {
    rule_ = rule;
    for (Weighted* layer : layers_) layer->set_rule(rule);
    arranged_ = false;
}

void Network::prepare() {
    if (arranged_) return;
    for (Weighted* layer : layers_) layer->rest();
    for (auto& value : values_) {
        value->data.clear();
        value->gradient.clear();
        std::fill(value->needed.begin(), value->needed.end(), 1);
    }
    for (std::size_t i = ops_.size(); i-- > 0;) {
        ops_[i]->mark_needed();
        // A rule that moves weights without a gradient needs all that are not pruned.
        if (!Update::leaves_idle_weights(rule_)) std::fill(ops_[i]->in.needed.begin(), ops_[i]->in.needed.end(), 1);
    }
    for (Weighted* layer : layers_) layer->arrange(kernels_);
    arranged_ = true;
}

double Network::step_work(std::size_t batch) const {
    double work = 0;
    for (const auto& op : ops_) work += op->work();
    return 3 * work * static_cast<double>(batch);
}

// Bytes are turned, 16 examples by 16 units, so that examples lie side by side, and then become floats. Lanes
// without an example repeat the first one, so that they are finite where it is; their gradients are zero.
void Network::load_tile(const Examples& examples, const std::int64_t* indices, const View* views, int count, bool rows) {
    constexpr int SIDE = sizeof(Bytes);
    Value& image = *values_.front();
    const int units = image.shape.units();
    const std::uint8_t* from[TILE];
    for (int k = 0; k < TILE; k++) {
        from[k] = k < count ? examples.images + static_cast<std::size_t>(indices[k]) * image_bytes() : from[0];
        if (!views || k >= count) continue;
        std::uint8_t* viewed = viewed_.data() + k * image_bytes();
        copy_view(from[k], image.shape, views[k], viewed);
        from[k] = viewed;
    }
    const auto normal = [](const std::uint8_t* bytes, V scale, V shift) {
        return __builtin_convertvector(widen(bytes), V) * scale + shift;
    };
    for (int u = 0; u < units; u += SIDE) {
        const int left = std::min(SIDE, units - u);
        const auto* needed = image.needed.data() + u;
        if (!rows && std::find(needed, needed + left, 1) == needed + left) continue;
        for (int part = 0; part < TILE; part += SIDE) {
            Bytes a[SIDE], b[SIDE];
            for (int k = 0; k < SIDE; k++) {
                a[k] = Bytes{};
                if (left == SIDE)
                    a[k] = *reinterpret_cast<const Bytes*>(from[part + k] + u);
                else
                    std::memcpy(&a[k], from[part + k] + u, left);
            }
            if (rows)
                for (int k = 0; k < SIDE; k++)
                    for (int i = 0; i < SIDE; i += WIDTH) {
                        float* to = image.rows.data() + (part + k) * image.row_stride + u + i;
                        store(to, normal(reinterpret_cast<std::uint8_t*>(&a[k]) + i, load(scale_.data() + u + i),
                                         load(shift_.data() + u + i)));
                    }
            const auto halfway = [](const Bytes* before, Bytes* after) {
                LANES_UNROLL(8)
                for (int k = 0; k < SIDE / 2; k++) {
                    const Bytes one = before[k], other = before[k + SIDE / 2];
                    after[2 * k] = __builtin_shufflevector(one, other, 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
                    after[2 * k + 1] = __builtin_shufflevector(one, other, 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31);
                }
            };
            halfway(a, b);
            halfway(b, a);
            halfway(a, b);
            halfway(b, a);
            for (int k = 0; k < left; k++)
                for (int i = 0; i < SIDE; i += WIDTH)
                    store(image.data.data() + image.shape.offset(u + k) + part + i,
                          normal(reinterpret_cast<std::uint8_t*>(&a[k]) + i, splat(scale_[u + k]), splat(shift_[u + k])));
        }
    }
}

int Network::forward(const Pass& pass, int count, Watch* watch) {
    for (const auto& op : ops_) {
        op->forward(pass);
        if (watch) watch->look();
    }
    V bad = zero();
    const Value& logits = *values_.back();
    for (int k = 0; k < outputs(); k++)
        for (int part = 0; part < TILE; part += WIDTH) {
            const V value = load(logits.data.data() + static_cast<std::size_t>(k) * TILE + part);
            VI live;
            for (int i = 0; i < WIDTH; i++) live[i] = part + i < count ? -1 : 0;
            bad += keep(value - value, live);  // zero if it is finite, else NaN
        }
    float sums[WIDTH];
    std::memcpy(sums, &bad, sizeof bad);
    for (const float sum : sums)
        if (sum != 0.f) return first_not_finite(count);
    return -1;
}

int Network::first_not_finite(int count) const {
    for (std::size_t i = 0; i < ops_.size(); i++) {
        const Value& value = ops_[i]->out;
        for (int u = 0; u < value.shape.units(); u++)
            for (int lane = 0; lane < count; lane++)
                if (!std::isfinite(value.data[value.shape.offset(u) + lane])) return static_cast<int>(i);
    }
    return static_cast<int>(ops_.size()) - 1;
}

void Network::loss_gradient(const Examples& examples, const std::int64_t* indices, int count, std::size_t batch) {
    Value& logits = *values_.back();
    if (!logits.wants_gradient) return;
    const int classes = outputs();
    const float *z = logits.data.data();
    float* dz = logits.gradient.data();
    std::int32_t label[TILE];
    for (int lane = 0; lane < TILE; lane++) label[lane] = lane < count ? examples.labels[indices[lane]] : -1;
    const V share = splat(static_cast<float>(1.0 / static_cast<double>(batch)));
    for (int part = 0; part < TILE; part += WIDTH) {
        VI truth, live;
        std::memcpy(&truth, label + part, sizeof truth);
        live = truth >= 0;
        V largest = load(z + part);
        for (int k = 1; k < classes; k++) largest = larger(largest, load(z + k * TILE + part));
        V sum = zero();
        for (int k = 0; k < classes; k++) {
            const V logit = load(z + k * TILE + part);
            const V e = exponential(logit - largest);
            sum += e + (logit - logit);  // NaN where the logit is not finite
            store(dz + k * TILE + part, e);
        }
        for (int k = 0; k < classes; k++) {
            float* at = dz + k * TILE + part;
            V p = load(at) / sum;
            p = select(truth == k, p - splat(1.f), p);
            p = keep(p * share, live);
            if (logits.relu) p = select(load(z + k * TILE + part) > zero(), p, zero());
            store(at, p);
        }
    }
}

void Network::backward(const Pass& pass, Watch* watch) {
    for (std::size_t i = ops_.size(); i-- > 0;) {
        if (!ops_[i]->out.wants_gradient) break;
        ops_[i]->backward(pass);
        if (watch) watch->look();
    }
}

int Network::batch_gradients(const Examples& examples, const std::int64_t* indices, const View* views, std::size_t count,
                             std::uint64_t seed, const Update* update, Watch* watch) {
    const bool rows = ops_.front()->wants_rows();
    for (std::size_t at = 0; at < count; at += TILE) {
        const int live = static_cast<int>(std::min<std::size_t>(TILE, count - at));
        Pass pass;
        pass.training = true;
        pass.first = at == 0;
        pass.update = at + TILE >= count ? update : nullptr;
        pass.seed = seed;
        pass.first_example = static_cast<int>(at);
        load_tile(examples, indices + at, views ? views + at : nullptr, live, rows);
        const int failed = forward(pass, live, watch);
        if (failed >= 0) return failed;
        loss_gradient(examples, indices + at, live, count);
        backward(pass, watch);
    }
    return -1;
}

Network::Trained Network::train(const Examples& examples, const std::int64_t* order, const View* views, std::size_t count,
                                std::size_t batch, std::uint64_t first_step, const double* rates, std::size_t steps,
                                const std::uint64_t* seeds, double slice_seconds, const Interrupted& interrupted) {
    prepare();
    if (views) viewed_.resize(TILE * image_bytes());
    const bool is_short = step_work(batch) < SHORT_STEP;
    Watch watch(interrupted);
    const double begin = seconds();
    std::size_t done = 0;
    try {
        while (done < steps && done * batch < count) {
            const std::size_t from = done * batch, size = std::min(batch, count - from);
            const Update update(rule_, rates[done], first_step + done);
            const int failed = batch_gradients(examples, order + from, views ? views + from : nullptr, size,
                                               seeds ? seeds[done] : 0, is_short ? &update : nullptr,
                                               is_short ? nullptr : &watch);
            if (failed >= 0) return {done, failed};
            for (Weighted* layer : layers_) layer->update(update);
            done++;
            if (seconds() - begin >= slice_seconds) break;
            watch.look();
        }
    } catch (const Given_up&) {
        // The step in progress has changed no weight: its gradients are replaced by those of the next.
    }
    return {done, -1};
}

int Network::gradients(const Examples& examples, const std::int64_t* indices, std::size_t count, std::uint64_t seed) {
    prepare();
    return batch_gradients(examples, indices, nullptr, count, seed, nullptr, nullptr);
}

bool Network::logits(const Examples& examples, const std::int64_t* indices, std::size_t count, float* found,
                     const Interrupted& interrupted) {
    Watch watch(interrupted);
    return logits(examples, indices, count, found, &watch);
}

bool Network::logits(const Examples& examples, const std::int64_t* indices, std::size_t count, float* found, Watch* watch) {
    prepare();
    const Value& last = *values_.back();
    try {
        for (std::size_t at = 0; at < count; at += TILE) {
            const int live = static_cast<int>(std::min<std::size_t>(TILE, count - at));
            load_tile(examples, indices + at, nullptr, live, false);
            Pass pass;
            pass.first = at == 0;
            for (const auto& op : ops_) {
                op->forward(pass);
                watch->look();
            }
            for (int lane = 0; lane < live; lane++)
                for (int k = 0; k < outputs(); k++) found[(at + lane) * outputs() + k] = last.data[static_cast<std::size_t>(k) * TILE + lane];
        }
    } catch (const Given_up&) {
        return false;
    }
    return true;
}

bool Network::evaluate(const Examples& examples, const std::int64_t* indices, std::size_t count, std::int64_t* predictions,
                       double* loss_sum, const Interrupted& interrupted) {
    std::vector<float> rows(1024 * static_cast<std::size_t>(outputs()));
    *loss_sum = 0;
    Watch watch(interrupted);
    for (std::size_t at = 0; at < count; at += 1024) {
        const std::size_t size = std::min<std::size_t>(1024, count - at);
        if (!logits(examples, indices + at, size, rows.data(), &watch)) return false;
        for (std::size_t i = 0; i < size; i++) {
            const float* z = rows.data() + i * outputs();
            int best = 0;
            for (int k = 1; k < outputs(); k++)
                if (z[k] > z[best]) best = k;
            predictions[at + i] = best;
            double sum = 0;
            bool finite = true;
            for (int k = 0; k < outputs(); k++) {
                finite = finite && std::isfinite(z[k]);
                V e = exponential(splat(std::min(z[k] - z[best], 0.f)));
                sum += static_cast<double>(e[0]);
            }
            const int truth = examples.labels[indices[at + i]];
            *loss_sum += finite ? logarithm(sum) + static_cast<double>(z[best]) - static_cast<double>(z[truth])
                                : std::numeric_limits<double>::quiet_NaN();
        }
    }
    return true;
}

}  // namespace lanes::LANES_ISA
