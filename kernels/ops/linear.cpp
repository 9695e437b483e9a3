// A fully connected layer, with its ReLU.
#include <algorithm>

#include "../weighted.h"

namespace lanes::LANES_ISA {
namespace {

// Below this density the sparse kernels are faster: FC at 0.45 takes 2,600 steps a second sparse and 2,350 dense
// (AVX-512, batch 32). Never decided by timing at run time.
constexpr double SPARSE_BELOW = 0.45;

// A weight gradient is four chains, example n in chain n modulo 4, added one after the other: a wide dense
// kernel and a sparse one, four examples in a vector, can both do that.
constexpr int CHAINS = 4;

class Linear final : public Weighted {
  public:
    Linear(Value& in, Value& out, bool bias, bool relu)
        : Weighted(in, out, out.shape.channels, in.shape.units(), 1, bias, relu, SPARSE_BELOW) {
        out.relu = relu;
    }

    void forward(const Pass&) override {
        Epilogue epilogue;
        epilogue.bias = has_bias_ ? bias_[VALUE].data() : nullptr;
        epilogue.relu = relu_;
        gather(forward_, in.data.data(), working_[VALUE].data(), out.data.data(), epilogue);
    }

    void backward(const Pass& pass) override {
        if (in.wants_gradient) {
            Epilogue epilogue;
            epilogue.gate = in.relu ? in.data.data() : nullptr;
            gather(backward_, out.gradient.data(), working_[VALUE].data(), in.gradient.data(), epilogue);
        }
        bias_gradient(pass);
        if (sparse_)
            sparse_gradient(pass);
        else
            dense_gradient(pass);
    }

    bool wants_rows() const override { return !sparse_ && static_cast<int>(live_groups_.size()) == groups_; }

  private:
    void make_maps() override {
        Region there{};
        there.rows = there.columns = 1;
        Region back = there;
        for (std::size_t g = 0; g < live_groups_.size(); g++) {
            there.offset.push_back(static_cast<std::int32_t>(in.shape.offset(live_groups_[g])));
            there.weight.push_back(static_cast<std::int32_t>(g));
        }
        for (std::size_t r = 0; r < live_rows_.size(); r++) {
            back.offset.push_back(live_rows_[r] * TILE);
            back.weight.push_back(static_cast<std::int32_t>(sparse_ ? r : r * stride_));
        }
        forward_.outputs = live_rows_;
        backward_.outputs = live_groups_;
        for (const int r : live_rows_) forward_.place.push_back(static_cast<std::ptrdiff_t>(r) * TILE);
        for (const int g : live_groups_) backward_.place.push_back(static_cast<std::ptrdiff_t>(in.shape.offset(g)));
        forward_.weight_row = stride_;
        backward_.weight_row = 1;
        forward_.regions = {there};
        backward_.regions = {back};
        if (!sparse_) {
            transposed_ = Buffer(stride_ * TILE);
            return;
        }
        input_.clear();
        for (const int c : column_) input_.push_back(static_cast<std::int32_t>(in.shape.offset(c)));
        cut_rows();
        const auto none = static_cast<std::int32_t>(column_.size());
        list_live(forward_, none, [&](int r, int g) { return live_index(live_rows_[r], live_groups_[g]); });
        list_live(backward_, none, [&](int g, int r) { return live_index(live_rows_[r], live_groups_[g]); });
    }

    // The inputs example by example: as the data came where nothing is left out, else transposed.
    const float* examples(std::size_t* stride) {
        if (!in.rows.empty() && static_cast<int>(live_groups_.size()) == groups_) {
            *stride = in.row_stride;
            return in.rows.data();
        }
        *stride = stride_;
        const std::size_t live = live_groups_.size();
        for (std::size_t g = 0; g < live; g += WIDTH)
            for (int part = 0; part < TILE; part += WIDTH) {
                V rows[WIDTH], columns[WIDTH];
                for (int k = 0; k < WIDTH; k++)
                    rows[k] = g + k < live ? load(in.data.data() + backward_.place[g + k] + part) : zero();
                transpose_square(rows, columns);
                for (int k = 0; k < WIDTH; k++) store(transposed_.data() + (part + k) * stride_ + g, columns[k]);
            }
        return transposed_.data();
    }

    // One chain of a block of weights.
    template <int ROWS, int VECTORS>
    LANES_INLINE void chain(int number, const float* const* dy, const float* x, std::size_t x_stride,
                            V (&sum)[ROWS][VECTORS]) const {
        LANES_UNROLL(16)
        for (int k = 0; k < ROWS; k++)
            LANES_UNROLL(4)
            for (int v = 0; v < VECTORS; v++) sum[k][v] = zero();
        for (int n = number; n < TILE; n += CHAINS) {
            const float* from = x + n * x_stride;
            V value[VECTORS];
            LANES_UNROLL(4)
            for (int v = 0; v < VECTORS; v++) value[v] = load(from + v * WIDTH);
            LANES_UNROLL(16)
            for (int k = 0; k < ROWS; k++) {
                const V d = splat(dy[k][n]);
                LANES_UNROLL(4)
                for (int v = 0; v < VECTORS; v++) sum[k][v] = fma(d, value[v], sum[k][v]);
            }
        }
    }

    // A block of weights. The totals wait in memory between chains: there are registers for one chain.
    template <int ROWS, int VECTORS>
    LANES_NOINLINE void block(const Pass& pass, const float* x, std::size_t x_stride, std::size_t row, std::size_t at) {
        const float* dy[ROWS];
        LANES_UNROLL(16)
        for (int k = 0; k < ROWS; k++) dy[k] = out.gradient.data() + live_rows_[row + k] * TILE;
        const std::size_t to = row * stride_ + at;
        float* const total = totals_.data();
        float* const gradient = working_[GRADIENT].data() + to;
        // They are needed after hundreds of cycles of arithmetic, and may be in the last cache.
        for (int k = 0; k < ROWS; k++)
            for (int v = 0; v < VECTORS; v++) __builtin_prefetch(working_[VALUE].data() + to + k * stride_ + v * WIDTH, 1);
        V sum[ROWS][VECTORS];
        for (int number = 0; number < CHAINS - 1; number++) {
            chain(number, dy, x + at, x_stride, sum);
            if (number == 0 && pass.first) {
                LANES_UNROLL(16)
                for (int k = 0; k < ROWS; k++)
                    LANES_UNROLL(4)
                    for (int v = 0; v < VECTORS; v++) store(total + (k * VECTORS + v) * WIDTH, sum[k][v]);
                continue;
            }
            LANES_UNROLL(16)
            for (int k = 0; k < ROWS; k++) {
                const float* before = number == 0 ? gradient + k * stride_ : total + k * VECTORS * WIDTH;
                LANES_UNROLL(4)
                for (int v = 0; v < VECTORS; v++)
                    store(total + (k * VECTORS + v) * WIDTH, load(before + v * WIDTH) + sum[k][v]);
            }
        }
        chain(CHAINS - 1, dy, x + at, x_stride, sum);
        if (pass.update && pass.update->plain() && kept_.empty()) {
            // The most frequent case, in registers.
            const V minus_lr = splat(pass.update->minus_lr());
            float* const weight = working_[VALUE].data() + to;
            LANES_UNROLL(16)
            for (int k = 0; k < ROWS; k++)
                LANES_UNROLL(4)
                for (int v = 0; v < VECTORS; v++) {
                    float* const p = weight + k * stride_ + v * WIDTH;
                    store(p, fma(minus_lr, load(total + (k * VECTORS + v) * WIDTH) + sum[k][v], load(p)));
                }
            return;
        }
        LANES_UNROLL(16)
        for (int k = 0; k < ROWS; k++)
            LANES_UNROLL(4)
            for (int v = 0; v < VECTORS; v++) {
                float* const p = total + (k * VECTORS + v) * WIDTH;
                store(p, load(p) + sum[k][v]);
            }
        for (int k = 0; k < ROWS; k++) finish(pass, total + k * VECTORS * WIDTH, to + k * stride_, VECTORS * WIDTH);
    }

    // Keeps a row of gradients, or takes the step at once.
    void finish(const Pass& pass, const float* total, std::size_t to, int count) {
        if (!pass.update) {
            std::memcpy(working_[GRADIENT].data() + to, total, count * sizeof(float));
            return;
        }
        const int slots = pass.update->slots();
        V none = zero();
        for (int i = 0; i < count; i += WIDTH) {
            const std::size_t p = to + i;
            V g = load(total + i);
            if (!kept_.empty()) g = keep(g, reinterpret_cast<VI>(load(kept_.data() + p)));
            V a = slots > 0 ? load(working_[SLOT].data() + p) : none;
            V b = slots > 1 ? load(working_[SLOT + 1].data() + p) : none;
            float* weight = working_[VALUE].data() + p;
            store(weight, pass.update->apply(load(weight), g, a, b));
            if (slots > 0) store(working_[SLOT].data() + p, a);
            if (slots > 1) store(working_[SLOT + 1].data() + p, b);
        }
    }

    template <int ROWS, int VECTORS>
    void column(const Pass& pass, const float* x, std::size_t x_stride, std::size_t at) {
        std::size_t row = 0;
        for (; row + ROWS <= live_rows_.size(); row += ROWS) block<ROWS, VECTORS>(pass, x, x_stride, row, at);
        for (; row < live_rows_.size(); row++) block<1, VECTORS>(pass, x, x_stride, row, at);
    }

    void dense_gradient(const Pass& pass) {
        std::size_t x_stride;
        const float* x = examples(&x_stride);
        // The input gradient has been made from the old weights, so they may change now.
        // From the last columns back: the forward pass left those in the cache.
        for (std::size_t left = stride_; left > 0;) {
            if (WIDTH == 16 && left >= 4 * WIDTH) {
                left -= 4 * WIDTH;
                column<6, 4>(pass, x, x_stride, left);
            } else if (left >= 2 * WIDTH) {
                left -= 2 * WIDTH;
                column<6, 2>(pass, x, x_stride, left);
            } else {
                left -= WIDTH;
                column<12, 1>(pass, x, x_stride, left);
            }
        }
        updated_in_backward_ = pass.update != nullptr;
    }

    // Blocks of inputs that stay in the first cache: where each row's live weights of a block begin.
    void cut_rows() {
        const std::size_t rows = live_rows_.size(), blocks = block_count(rows, live_groups_.size(), column_.size());
        segment_.resize((blocks + 1) * rows);
        for (std::size_t block = 0; block <= blocks; block++)
            for (std::size_t r = 0; r < rows; r++) {
                const auto begin = column_.begin() + row_start_[r], end = column_.begin() + row_start_[r + 1];
                const std::size_t first = live_groups_.size() * block / blocks;
                const auto at = block == blocks ? end : std::lower_bound(begin, end, first < live_groups_.size() ? live_groups_[first] : 0);
                segment_[block * rows + r] = static_cast<std::int32_t>(at - column_.begin());
            }
    }

    void sparse_gradient(const Pass& pass) {
        const std::size_t rows = live_rows_.size();
        for (std::size_t at = 0; at + rows < segment_.size(); at += rows)
            for (std::size_t r = 0; r < rows; r++) {
                const std::int32_t begin = segment_[at + r], end = segment_[at + rows + r];
                if (begin < end) sparse_row(pass, out.gradient.data() + live_rows_[r] * TILE, begin, end);
            }
    }

    static constexpr int PIECES = TILE / CHAINS;

    // Some weights of one output.
    LANES_INLINE void sparse_row(const Pass& pass, const float* dy, std::int32_t begin, std::int32_t end) {
        V4 d[PIECES];
        LANES_UNROLL(8)
        for (int q = 0; q < PIECES; q++) d[q] = *reinterpret_cast<const V4*>(dy + q * CHAINS);
        for (; begin + 8 <= end; begin += 8) sparse_some<8>(pass, d, begin, 8);
        for (; begin + 4 <= end; begin += 4) sparse_some<4>(pass, d, begin, 4);
        if (begin < end) sparse_some<4>(pass, d, begin, end - begin);
    }

    // COUNT weights side by side, whose chains fill the multiply-add units; only `count` of them are there.
    template <int COUNT>
    LANES_INLINE void sparse_some(const Pass& pass, const V4* d, std::int32_t at, int count) {
        const float* x[COUNT];
        V4 sum[COUNT];
        LANES_UNROLL(8)
        for (int k = 0; k < COUNT; k++) {
            x[k] = in.data.data() + input_[at + (k < count ? k : 0)];
            sum[k] = V4{};
        }
        LANES_UNROLL(8)
        for (int q = 0; q < PIECES; q++)
            LANES_UNROLL(8)
            for (int k = 0; k < COUNT; k++) sum[k] = fma(d[q], *reinterpret_cast<const V4*>(x[k] + q * CHAINS), sum[k]);
        LANES_UNROLL(2)
        for (int k = 0; k < COUNT; k += 4) {
            float* const gradient = working_[GRADIENT].data() + at + k;
            const V4 a = __builtin_shufflevector(sum[k], sum[k + 1], 0, 4, 1, 5);
            const V4 b = __builtin_shufflevector(sum[k + 2], sum[k + 3], 0, 4, 1, 5);
            const V4 c = __builtin_shufflevector(sum[k], sum[k + 1], 2, 6, 3, 7);
            const V4 e = __builtin_shufflevector(sum[k + 2], sum[k + 3], 2, 6, 3, 7);
            V4 total = __builtin_shufflevector(a, b, 0, 1, 4, 5);
            // The buffer has room for four beyond its end.
            if (!pass.first) total = *reinterpret_cast<const V4Loose*>(gradient) + total;
            total += __builtin_shufflevector(a, b, 2, 3, 6, 7);
            total += __builtin_shufflevector(c, e, 0, 1, 4, 5);
            total += __builtin_shufflevector(c, e, 2, 3, 6, 7);
            if (count == COUNT)
                *reinterpret_cast<V4Loose*>(gradient) = total;
            else
                for (int i = 0; i < count; i++) gradient[i] = total[i];
        }
    }

    // By live weight: floats before its input. By block and row: the first live weight.
    std::vector<std::int32_t> input_, segment_;
    Buffer transposed_;
    Buffer totals_{24 * 16};  // of the largest block
};

}  // namespace

Shape linear_shape(const OpSpec& spec, const Shape&) { return checked(spec.integer("out", 1, 1 << 20), 1, 1, "linear"); }

std::unique_ptr<Op> make_linear(const OpSpec& spec, Value& in, Value& out) {
    return std::make_unique<Linear>(in, out, spec.flag("bias"), spec.flag("relu"));
}

}  // namespace lanes::LANES_ISA
