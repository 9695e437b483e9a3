// A two-dimensional convolution, with its ReLU and a 2x2 max-pool behind it.
#include <algorithm>

#include "../weighted.h"
#include "../winograd.h"

namespace lanes::LANES_ISA {
namespace {

// Below these densities the sparse kernels are faster. A step of Conv-4 takes 154 ms sparse and 175 dense at 0.45, 191
// and 177 at 0.55 (AVX-512, batch 32). In Winograd's form dense is cheaper: its convolutions take 73 ms sparse and 77
// dense at 0.2, 89 and 78 at 0.25, those of smaller maps cross at 0.35. Never decided by timing at run time.
constexpr double SPARSE_BELOW = 0.45;
constexpr double SPARSE_BELOW_WINOGRAD = 0.25;

// A dense 3x3 convolution at stride 1 has Winograd's form from this many channels on each side on, and from this many
// positions: what is saved has to pay for the transforms of tiles and filters. Three such layers gain 1.06 (8 x 8) and 1.33
// (16 x 16) with 32 channels, 1.0 with 16, and 1.35 with 64 channels on 8 x 8 but 0.83 on 4 x 4 (AVX-512, batch 32; AVX2
// gains more).
constexpr int WINOGRAD_CHANNELS = 32;
constexpr int WINOGRAD_POSITIONS = 64;

// Positions of a strip of a weight gradient. Sparse: the strip of all input channels stays in the second cache. Dense,
// with narrow vectors, which make two passes: that of a few channels in the first.
constexpr int STRIP_POSITIONS = 64;

// Columns of a dense weight gradient between whose strips the partial sums wait: they stay in the second cache.
constexpr std::size_t PANEL_COLUMNS = 72;

// Floats that a dense weight gradient prefetches ahead. Narrow vectors find their strips in the cache.
constexpr int AHEAD = HALVES == 1 ? 256 : 0;

// Weights of a sparse weight gradient whose chains run side by side, at most.
constexpr std::int32_t SIDE_BY_SIDE = 8;

// Some rows of positions.
struct Strip {
    int begin, end;
};

struct Side {  // one of the two directions
    int kernel, stride, before, after, dilation;

    int outputs(int size) const {
        const int span = size + before + after - dilation * (kernel - 1) - 1;
        return span < 0 ? 0 : span / stride + 1;
    }
};

struct Geometry {
    Side y, x;
    bool bias, relu, pool;

    explicit Geometry(const OpSpec& spec)
        : y{spec.integer("kh", 1), spec.integer("sh", 1), spec.integer("pt", 0), spec.integer("pb", 0), spec.integer("dh", 1)},
          x{spec.integer("kw", 1), spec.integer("sw", 1), spec.integer("pl", 0), spec.integer("pr", 0), spec.integer("dw", 1)},
          bias(spec.flag("bias")), relu(spec.flag("relu")), pool(spec.integer("pool", 0, 2) == 2) {
        if (spec.number("pool") == 1) throw std::invalid_argument("conv: pool is 1, expected 0 or 2");
    }

    // Whether it pays in Winograd's form where it is dense. Of the whole layer, pruned or not: a smaller dense layer has the
    // bits of the one full of zeros.
    bool suits_winograd(const Shape& in, const Shape& out) const {
        const int by = pool ? 2 : 1;
        for (const Side& side : {y, x})
            if (side.kernel != 3 || side.stride != 1 || side.dilation != 1) return false;
        return std::min(in.channels, out.channels) >= WINOGRAD_CHANNELS && by * by * out.positions() >= WINOGRAD_POSITIONS;
    }
};

// Positions first, first + step, ... that have the same taps. `from` is what tap t reads at the first one.
struct Run {
    int first, step, count;
    std::vector<int> tap, from;
};

void add_position(std::vector<Run>& runs, bool open, int position, int step, const std::vector<int>& taps,
                  const std::vector<int>& from) {
    if (taps.empty()) return;
    if (open && !runs.empty() && runs.back().tap == taps && runs.back().first + runs.back().count * step == position)
        runs.back().count++;
    else
        runs.push_back({position, step, 1, taps, from});
}

// Which inputs the outputs read.
std::vector<Run> forward_runs(const Side& side, int size, int outputs) {
    std::vector<Run> runs;
    for (int o = 0; o < outputs; o++) {
        std::vector<int> taps, from;
        for (int t = 0; t < side.kernel; t++) {
            const int i = o * side.stride - side.before + t * side.dilation;
            if (i >= 0 && i < size) taps.push_back(t), from.push_back(i);
        }
        add_position(runs, o > 0, o, 1, taps, from);
    }
    return runs;
}

// Which outputs read an input; inputs a stride apart have the same taps.
std::vector<Run> backward_runs(const Side& side, int size, int outputs) {
    std::vector<Run> runs;
    for (int phase = 0; phase < std::min(side.stride, size); phase++)
        for (int i = phase; i < size; i += side.stride) {
            std::vector<int> taps, from;
            for (int t = 0; t < side.kernel; t++) {
                const int reach = i + side.before - t * side.dilation;
                if (reach >= 0 && reach % side.stride == 0 && reach / side.stride < outputs)
                    taps.push_back(t), from.push_back(reach / side.stride);
            }
            add_position(runs, i > phase, i, side.stride, taps, from);
        }
    return runs;
}

class Conv final : public Weighted {
  public:
    Conv(Value& in, Value& out, const Geometry& geometry)
        : Weighted(in, out, out.shape.channels, in.shape.channels, geometry.y.kernel * geometry.x.kernel, geometry.bias,
                   geometry.relu, geometry.suits_winograd(in.shape, out.shape) ? SPARSE_BELOW_WINOGRAD : SPARSE_BELOW),
          geometry_(geometry), pool_(geometry.pool), suits_winograd_(geometry.suits_winograd(in.shape, out.shape)) {
        out.relu = relu_;
        // Of an odd number of outputs a pool leaves the last one out, so it is never computed.
        height_ = pool_ ? 2 * out.shape.height : out.shape.height;
        width_ = pool_ ? 2 * out.shape.width : out.shape.width;
        const Side &y = geometry_.y, &x = geometry_.x;
        padded_height_ = in.shape.height + y.before + y.after;
        padded_width_ = in.shape.width + x.before + x.after;
        padded_shape_ = checked(in.shape.channels, padded_height_, padded_width_, "conv");
        pads_ = y.before || y.after || x.before || x.after;
        if (pool_) {
            winner_.resize(out.shape.floats());
            expanded_ = Buffer(checked(rows_, height_, width_, "conv").floats());
        }
    }

    void forward(const Pass& pass) override {
        Epilogue epilogue;
        epilogue.bias = has_bias_ ? bias_[VALUE].data() : nullptr;
        epilogue.relu = relu_;
        if (winograd()) return winograd_forward(pass, epilogue);
        if (pads_ && (pool_ || pass.training)) pad();
        if (pool_)
            gather_pooled(forward_, source(), working_[VALUE].data(), out.data.data(), winner_.data(), epilogue,
                          pooled_rows_.data(), pooled_row_channel());
        else
            gather(forward_, in.data.data(), working_[VALUE].data(), out.data.data(), epilogue);
    }

    void backward(const Pass& pass) override {
        if (pool_) expand();
        const float* dy = gradient();
        if (in.wants_gradient) {
            Epilogue epilogue;
            epilogue.gate = in.relu ? in.data.data() : nullptr;
            if (winograd())
                winograd_backward(pass, dy, epilogue);
            else
                gather(backward_, dy, working_[VALUE].data(), in.gradient.data(), epilogue);
        }
        bias_gradient(pass);
        if (winograd())
            winograd_gradient_.run(in.data.data(), dy, pass.first, working_[GRADIENT].data(), stride_);
        else if (sparse_)
            sparse_gradient(pass);
        else
            dense_gradient(pass);
    }

    std::vector<std::size_t> shape() const override {
        const auto size = [](int n) { return static_cast<std::size_t>(n); };
        return {size(rows_), size(groups_), size(geometry_.y.kernel), size(geometry_.x.kernel)};
    }

  private:
    const float* source() const { return pads_ ? padded_.data() : in.data.data(); }
    const float* gradient() const { return pool_ ? expanded_.data() : out.gradient.data(); }
    std::size_t gradient_channel() const { return Shape{rows_, height_, width_}.channel_floats(); }
    std::size_t pooled_row_channel() const { return Shape{rows_, 2, width_}.channel_floats(); }
    std::size_t row_floats() const { return static_cast<std::size_t>(padded_width_) * TILE; }

    bool winograd() const { return suits_winograd_ && !sparse_; }

    // Weights stay as they are for all tiles of a step.
    void winograd_forward(const Pass& pass, const Epilogue& epilogue) {
        const float* weights = working_[VALUE].data();
        if (pass.first) winograd_forward_.set_filters(weights, static_cast<std::ptrdiff_t>(stride_), taps_, false);
        if (pool_)
            winograd_forward_.run_pooled(in.data.data(), out.data.data(), winner_.data(), epilogue);
        else
            winograd_forward_.run(in.data.data(), out.data.data(), epilogue);
    }

    void winograd_backward(const Pass& pass, const float* dy, const Epilogue& epilogue) {
        const float* weights = working_[VALUE].data();
        if (pass.first) winograd_backward_.set_filters(weights, taps_, static_cast<std::ptrdiff_t>(stride_), true);
        winograd_backward_.run(dy, in.gradient.data(), epilogue);
    }

    void make_winograd() {
        const Plane x{in.shape.height, in.shape.width, static_cast<std::ptrdiff_t>(in.shape.channel_floats())};
        const Plane y{height_, width_, static_cast<std::ptrdiff_t>(out.shape.channel_floats())};
        const Plane dy{height_, width_, static_cast<std::ptrdiff_t>(gradient_channel())};
        const int top = geometry_.y.before, left = geometry_.x.before;
        winograd_forward_ = Winograd({x, y, top, left, live_groups_, live_rows_});
        if (in.wants_gradient) winograd_backward_ = Winograd({dy, x, 2 - top, 2 - left, live_rows_, live_groups_});
        winograd_gradient_ = WinogradGradient({x, dy, top, left, live_groups_, live_rows_});
    }

    void make_maps() override {
        winograd_forward_ = Winograd();
        winograd_backward_ = Winograd();
        winograd_gradient_ = WinogradGradient();
        padded_ = pads_ && !winograd() ? Buffer(padded_shape_.floats()) : Buffer();
        pooled_rows_ = pool_ && !winograd() ? Buffer(rows_ * pooled_row_channel()) : Buffer();
        partial_ = Buffer();
        if (winograd()) return make_winograd();
        const Side &y = geometry_.y, &x = geometry_.x;
        const int out_channel = static_cast<int>(gradient_channel()), in_channel = static_cast<int>(in.shape.channel_floats());
        const int padded_channel = static_cast<int>(padded_shape_.channel_floats());
        // Where each column of the live matrix reads the padded input, for the weight gradient.
        column_offset_.clear();
        for (const int g : live_groups_)
            for (int ty = 0; ty < y.kernel; ty++)
                for (int tx = 0; tx < x.kernel; tx++)
                    column_offset_.push_back(g * padded_channel + (ty * y.dilation * padded_width_ + tx * x.dilation) * TILE);
        forward_.outputs = live_rows_;
        for (const int r : live_rows_) forward_.place.push_back(static_cast<std::ptrdiff_t>(r * out.shape.channel_floats()));
        forward_.weight_row = stride_;
        if (pool_) {
            Region region = line_region(height_, width_, y.stride * static_cast<std::ptrdiff_t>(row_floats()),
                                        x.stride * TILE, 0, out.shape.width * TILE, TILE);
            region.offset = column_offset_;
            for (std::size_t c = 0; c < column_offset_.size(); c++) region.weight.push_back(static_cast<std::int32_t>(c));
            forward_.regions = {region};
        } else {
            for (const Run& ry : forward_runs(y, in.shape.height, height_))
                for (const Run& rx : forward_runs(x, in.shape.width, width_)) {
                    Region region = line_region(ry.count, rx.count, static_cast<std::ptrdiff_t>(y.stride) * in.shape.width * TILE, x.stride * TILE,
                                                (ry.first * width_ + rx.first) * TILE, width_ * TILE, TILE);
                    for (std::size_t g = 0; g < live_groups_.size(); g++)
                        for (std::size_t a = 0; a < ry.tap.size(); a++)
                            for (std::size_t b = 0; b < rx.tap.size(); b++) {
                                region.offset.push_back(live_groups_[g] * in_channel +
                                                        (ry.from[a] * in.shape.width + rx.from[b]) * TILE);
                                region.weight.push_back(
                                    static_cast<std::int32_t>(g * taps_ + ry.tap[a] * x.kernel + rx.tap[b]));
                            }
                    forward_.regions.push_back(std::move(region));
                }
            add_bare_positions();
        }
        backward_.outputs = live_groups_;
        for (const int g : live_groups_) backward_.place.push_back(static_cast<std::ptrdiff_t>(g) * in_channel);
        backward_.weight_row = taps_;
        if (in.wants_gradient)
            for (const Run& ry : backward_runs(y, in.shape.height, height_))
                for (const Run& rx : backward_runs(x, in.shape.width, width_)) {
                    Region region = line_region(ry.count, rx.count, width_ * TILE, TILE,
                                                (ry.first * in.shape.width + rx.first) * TILE,
                                                static_cast<std::ptrdiff_t>(ry.step) * in.shape.width * TILE, rx.step * TILE);
                    for (std::size_t r = 0; r < live_rows_.size(); r++)
                        for (std::size_t a = 0; a < ry.tap.size(); a++)
                            for (std::size_t b = 0; b < rx.tap.size(); b++) {
                                const int tap = ry.tap[a] * x.kernel + rx.tap[b];
                                region.offset.push_back(live_rows_[r] * out_channel +
                                                        (ry.from[a] * width_ + rx.from[b]) * TILE);
                                region.weight.push_back(
                                    static_cast<std::int32_t>(sparse_ ? r * taps_ + tap : r * stride_ + tap));
                            }
                    backward_.regions.push_back(std::move(region));
                }
        partial_ = Buffer((sparse_ ? column_.size() : live_rows_.size() * std::min(PANEL_COLUMNS, column_offset_.size())) * CLASSES);
        if (!sparse_) return;
        input_.clear();
        for (const int c : column_) {
            const int tap = c % taps_, ty = tap / x.kernel * y.dilation, tx = tap % x.kernel * x.dilation;
            input_.push_back(c / taps_ * padded_channel + (ty * padded_width_ + tx) * TILE);
        }
        const auto none = static_cast<std::int32_t>(column_.size());
        list_live(forward_, none, [&](int r, int column) {
            return live_index(live_rows_[r], live_groups_[column / taps_] * taps_ + column % taps_);
        });
        list_live(backward_, none, [&](int g, int row) {
            return live_index(live_rows_[row / taps_], live_groups_[g] * taps_ + row % taps_);
        });
    }

    static Region line_region(int rows, int columns, std::ptrdiff_t in_row, std::ptrdiff_t in_column,
                              std::ptrdiff_t out_base, std::ptrdiff_t out_row, std::ptrdiff_t out_column) {
        Region region{};
        region.rows = rows;
        region.columns = columns;
        region.in_row = in_row;
        region.in_column = in_column;
        region.out_base = out_base;
        region.out_row = out_row;
        region.out_column = out_column;
        return region;
    }

    // Outputs whose whole window lies in the padding: the bias alone.
    void add_bare_positions() {
        std::vector<std::uint8_t> covered(out.shape.positions());
        for (const Region& region : forward_.regions)
            for (int a = 0; a < region.rows; a++)
                for (int b = 0; b < region.columns; b++)
                    covered[(region.out_base + a * region.out_row + b * region.out_column) / TILE] = 1;
        for (int p = 0; p < out.shape.positions(); p++)
            if (!covered[p]) forward_.regions.push_back(line_region(1, 1, 0, 0, p * TILE, 0, 0));
    }

    void pad() {
        const std::size_t row = static_cast<std::size_t>(in.shape.width) * TILE;
        for (const int g : live_groups_)
            for (int i = 0; i < in.shape.height; i++) {
                const std::size_t to = (static_cast<std::size_t>(i) + geometry_.y.before) * padded_width_ + geometry_.x.before;
                std::memcpy(padded_.data() + g * padded_shape_.channel_floats() + to * TILE,
                            in.data.data() + g * in.shape.channel_floats() + i * row, row * sizeof(float));
            }
    }

    // The gradient before the pool: at the winner of each window, zero elsewhere.
    void expand() {
        const int height = out.shape.height, width = out.shape.width;
        for (const int r : live_rows_)
            for (int y = 0; y < height; y++)
                for (int x = 0; x < width; x++) {
                    const std::size_t cell = r * out.shape.channel_floats() + (static_cast<std::size_t>(y) * width + x) * TILE;
                    float* to = expanded_.data() + r * gradient_channel() + (2 * static_cast<std::size_t>(y) * width_ + 2 * x) * TILE;
                    for (int part = 0; part < TILE; part += WIDTH) {
                        const V d = load(out.gradient.data() + cell + part);
                        const VI which = widen(winner_.data() + cell + part);
                        LANES_UNROLL(4)
                        for (int q = 0; q < 4; q++)
                            store(to + (q / 2) * width_ * TILE + (q % 2) * TILE + part, keep(d, which == q));
                    }
                }
    }

    // Sums over the positions of some rows and over lanes of products of inputs and output gradients, for some
    // weights. The partial sums of a weight are in HALVES vectors; each is one chain over the positions, which
    // goes on from what `part` holds unless these are the first rows.
    template <int ROWS, int COLUMNS>
    LANES_INLINE void products(const Strip& strip, const float* const* dy, const float* const* x,
                               V (*part)[ROWS * COLUMNS]) const {
        const std::size_t x_row = geometry_.y.stride * row_floats(), x_column = static_cast<std::size_t>(geometry_.x.stride) * TILE;
        // At stride 1 a row of positions is one line of lanes.
        const bool joined = x_column == TILE;
        const int columns = joined ? 1 : width_;
        const std::size_t length = joined ? static_cast<std::size_t>(width_) * TILE : TILE;
        LANES_UNROLL(2)
        for (int half = 0; half < HALVES; half++) {
            V sum[ROWS][COLUMNS];
            LANES_UNROLL(16)
            for (int k = 0; k < ROWS; k++)
                LANES_UNROLL(16)
                for (int j = 0; j < COLUMNS; j++) sum[k][j] = strip.begin == 0 ? zero() : part[half][k * COLUMNS + j];
            for (int row = strip.begin; row < strip.end; row++)
                for (int column = 0; column < columns; column++) {
                    const std::size_t from = row * x_row + column * x_column;
                    const std::size_t d_from = (static_cast<std::size_t>(row) * width_ + column) * TILE;
                    for (std::size_t l = half * WIDTH; l < length; l += CLASSES) {
                        V d[ROWS];
                        LANES_UNROLL(16)
                        for (int k = 0; k < ROWS; k++) {
                            d[k] = load(dy[k] + d_from + l);
                            if (WIDTH == 8) LANES_PIN(d[k]);  // with few registers GCC loads it again each time
                            if (AHEAD > 0 && ROWS > 1) __builtin_prefetch(dy[k] + d_from + l + AHEAD);
                        }
                        LANES_UNROLL(16)
                        for (int j = 0; j < COLUMNS; j++) {
                            V value = load(x[j] + from + l);
                            if (ROWS > 1) LANES_PIN(value);
                            // The taps of one row of the kernel read nearly the same.
                            if (AHEAD > 0 && ROWS > 1 && j % 3 == 2) __builtin_prefetch(x[j] + from + l + AHEAD);
                            LANES_UNROLL(16)
                            for (int k = 0; k < ROWS; k++) sum[k][j] = fma(d[k], value, sum[k][j]);
                        }
                    }
                }
            LANES_UNROLL(16)
            for (int k = 0; k < ROWS; k++)
                LANES_UNROLL(16)
                for (int j = 0; j < COLUMNS; j++) part[half][k * COLUMNS + j] = sum[k][j];
        }
    }

    // The sums of COUNT weights from their partial sums.
    template <int COUNT>
    static LANES_INLINE void add_up(const V (*part)[COUNT], float* sums) {
        for (int at = 0; at < COUNT; at += WIDTH) {
            V group[WIDTH];
            LANES_UNROLL(16)
            for (int i = 0; i < WIDTH; i++) {
                group[i] = zero();
                if (at + i < COUNT)
                    group[i] = HALVES > 1 ? part[0][at + i] + part[HALVES - 1][at + i] : part[0][at + i];
            }
            store_loose(sums + at, tree(group));
        }
    }

    // The partial sums of a block of weights wait in memory between strips of rows. Returns where the next ones wait.
    template <int ROWS, int COLUMNS>
    LANES_NOINLINE float* dense_block(const Pass& pass, const Strip& strip, std::size_t row, std::size_t column, float* waiting) {
        const std::size_t channel = gradient_channel();
        const float *dy[ROWS], *x[COLUMNS];
        for (int k = 0; k < ROWS; k++) dy[k] = gradient() + live_rows_[row + k] * channel;
        for (int j = 0; j < COLUMNS; j++) x[j] = source() + column_offset_[column + j];
        auto* part = reinterpret_cast<V(*)[ROWS * COLUMNS]>(waiting);
        products<ROWS, COLUMNS>(strip, dy, x, part);
        if (strip.end == height_) {
            float sums[ROWS * COLUMNS + WIDTH];
            add_up<ROWS * COLUMNS>(part, sums);
            for (int k = 0; k < ROWS; k++)
                for (int j = 0; j < COLUMNS; j++) {
                    float& total = working_[GRADIENT][(row + k) * stride_ + column + j];
                    total = (pass.first ? 0.f : total) + sums[k * COLUMNS + j];
                }
        }
        return waiting + ROWS * COLUMNS * CLASSES;
    }

    template <int ROWS, int COLUMNS>
    float* dense_rows(const Pass& pass, const Strip& strip, std::size_t row, std::size_t column, std::size_t end, float* waiting) {
        for (; column + COLUMNS <= end; column += COLUMNS) waiting = dense_block<ROWS, COLUMNS>(pass, strip, row, column, waiting);
        for (; column + 3 <= end; column += 3) waiting = dense_block<ROWS, 3>(pass, strip, row, column, waiting);
        for (; column < end; column++) waiting = dense_block<ROWS, 1>(pass, strip, row, column, waiting);
        return waiting;
    }

    void dense_gradient(const Pass& pass) {
        const std::size_t rows = live_rows_.size(), columns = column_offset_.size();
        const int step = HALVES == 1 ? height_ : std::max(1, STRIP_POSITIONS / width_);
        for (std::size_t column = 0; column < columns; column += PANEL_COLUMNS)
            for (int from = 0; from < height_; from += step) {
                const Strip strip{from, std::min(height_, from + step)};
                const std::size_t end = std::min(columns, column + PANEL_COLUMNS);
                float* waiting = partial_.data();
                std::size_t row = 0;
                if (WIDTH == 16 && rows % 3 != 0)
                    for (; row + 4 <= rows; row += 4) waiting = dense_rows<4, 6>(pass, strip, row, column, end, waiting);
                for (; row + 3 <= rows; row += 3)
                    waiting = dense_rows<3, WIDTH == 16 ? 9 : 4>(pass, strip, row, column, end, waiting);
                for (; row < rows; row++)
                    waiting = dense_rows<1, WIDTH == 16 ? 9 : 4>(pass, strip, row, column, end, waiting);
            }
    }

    template <int COUNT>
    LANES_NOINLINE void sparse_block(const Pass& pass, const Strip& strip, const float* dy, std::int32_t at) {
        const float* x[COUNT];
        for (int k = 0; k < COUNT; k++) x[k] = source() + input_[at + k];
        auto* part = reinterpret_cast<V(*)[COUNT]>(partial_.data() + static_cast<std::size_t>(at) * CLASSES);
        products<1, COUNT>(strip, &dy, x, part);
        if (strip.end < height_) return;
        float sums[COUNT + WIDTH];
        add_up<COUNT>(part, sums);
        for (int k = 0; k < COUNT; k++) {
            float& total = working_[GRADIENT][at + k];
            total = (pass.first ? 0.f : total) + sums[k];
        }
    }

    void sparse_some(int count, const Pass& pass, const Strip& strip, const float* dy, std::int32_t at) {
        static_assert(SIDE_BY_SIDE == 8);
        switch (count) {
            case 1: return sparse_block<1>(pass, strip, dy, at);
            case 2: return sparse_block<2>(pass, strip, dy, at);
            case 3: return sparse_block<3>(pass, strip, dy, at);
            case 4: return sparse_block<4>(pass, strip, dy, at);
            case 5: return sparse_block<5>(pass, strip, dy, at);
            case 6: return sparse_block<6>(pass, strip, dy, at);
            case 7: return sparse_block<7>(pass, strip, dy, at);
            default: return sparse_block<8>(pass, strip, dy, at);
        }
    }

    // Strips of rows outside, so that large maps are read once from far memory and not once for each weight.
    void sparse_gradient(const Pass& pass) {
        const std::size_t channel = gradient_channel();
        const int step = std::max(1, STRIP_POSITIONS / width_);
        for (int from = 0; from < height_; from += step) {
            const Strip strip{from, std::min(height_, from + step)};
            for (std::size_t r = 0; r < live_rows_.size(); r++) {
                const float* dy = gradient() + live_rows_[r] * channel;
                // Blocks of nearly equal size: each is as long as its few chains take, so a small last one costs as much
                // as a full one.
                std::int32_t at = row_start_[r];
                const std::int32_t end = row_start_[r + 1];
                for (std::int32_t blocks = (end - at + SIDE_BY_SIDE - 1) / SIDE_BY_SIDE; blocks > 0; blocks--) {
                    const std::int32_t count = (end - at) / blocks;
                    sparse_some(count, pass, strip, dy, at);
                    at += count;
                }
            }
        }
    }

    const Geometry geometry_;
    const bool pool_, suits_winograd_;
    bool pads_;
    int height_, width_;  // of the outputs before the pool
    int padded_height_, padded_width_;
    Shape padded_shape_{};  // of the input with its padding
    Buffer padded_, pooled_rows_, expanded_;
    Winograd winograd_forward_, winograd_backward_;  // where the layer is dense and suits it
    WinogradGradient winograd_gradient_;
    Buffer partial_;                    // partial sums of the weight gradient
    std::vector<std::int32_t> input_;   // sparse: by live weight where it reads the padded input
    std::vector<std::uint8_t> winner_;
    std::vector<std::int32_t> column_offset_;
};

}  // namespace

Shape conv_shape(const OpSpec& spec, const Shape& in) {
    const Geometry geometry(spec);
    const int by = geometry.pool ? 2 : 1;
    return checked(spec.integer("out", 1, 1 << 20), geometry.y.outputs(in.height) / by, geometry.x.outputs(in.width) / by, "conv");
}

std::unique_ptr<Op> make_conv(const OpSpec& spec, Value& in, Value& out) {
    return std::make_unique<Conv>(in, out, Geometry(spec));
}

}  // namespace lanes::LANES_ISA
