// Average pooling: windows of one size, or as many windows as outputs are asked for (adaptive; one window is
// global pooling).
#include <algorithm>

#include "../op.h"

namespace lanes::LANES_ISA {
namespace {

struct Window {
    int begin, end;  // inputs
    int size;        // with the padding that it covers
};

class AvgPool final : public Op {
  public:
    AvgPool(Value& in, Value& out, std::vector<Window> rows, std::vector<Window> columns, bool include_pad, double divisor)
        : Op(in, out), rows_(std::move(rows)), columns_(std::move(columns)), include_pad_(include_pad), divisor_(divisor) {}

    void forward(const Pass&) override {
        for_windows([&](std::size_t from, std::size_t to, const Window& y, const Window& x, float divisor) {
            // All examples of the tile side by side: the sum of each is a chain of additions that wait.
            V sum[PARTS] = {};
            for (int i = y.begin; i < y.end; i++)
                for (int j = x.begin; j < x.end; j++) {
                    const float* at = in.data.data() + from + place(i, j);
                    LANES_UNROLL(4)
                    for (int p = 0; p < PARTS; p++) sum[p] += load(at + p * WIDTH);
                }
            for (int p = 0; p < PARTS; p++) store(out.data.data() + to + p * WIDTH, sum[p] / splat(divisor));
        });
    }

    void backward(const Pass&) override {
        if (!in.wants_gradient) return;
        const std::size_t channel = in.shape.channel_floats();
        if (!tiled_)
            for (int c = 0; c < in.shape.channels; c++)
                if (out.needs_channel(c)) std::memset(in.gradient.data() + c * channel, 0, channel * sizeof(float));
        for_windows([&](std::size_t from, std::size_t to, const Window& y, const Window& x, float divisor) {
            for (int part = 0; part < TILE; part += WIDTH) {
                const V d = load(out.gradient.data() + to + part) / splat(divisor);
                for (int i = y.begin; i < y.end; i++)
                    for (int j = x.begin; j < x.end; j++) {
                        float* dx = in.gradient.data() + from + place(i, j) + part;
                        store(dx, (tiled_ ? zero() : load(dx)) + d);
                    }
            }
        });
        if (!in.relu) return;
        for (std::size_t i = 0; i < in.shape.floats(); i += WIDTH)
            store(in.gradient.data() + i, select(load(in.data.data() + i) > zero(), load(in.gradient.data() + i), zero()));
    }

    void mark_needed() override {
        std::fill(in.needed.begin(), in.needed.end(), 0);
        const int positions = in.shape.positions();
        for (int c = 0; c < in.shape.channels; c++)
            if (out.needs_channel(c)) std::fill_n(in.needed.begin() + static_cast<std::ptrdiff_t>(c) * positions, positions, 1);
    }

  private:
    static constexpr int PARTS = TILE / WIDTH;

    std::size_t place(int i, int j) const { return (static_cast<std::size_t>(i) * in.shape.width + j) * TILE; }

    template <class Visit>
    void for_windows(const Visit& visit) const {
        for (int c = 0; c < out.shape.channels; c++) {
            if (!out.needs_channel(c)) continue;
            const std::size_t from = c * in.shape.channel_floats();
            for (std::size_t i = 0; i < rows_.size(); i++)
                for (std::size_t j = 0; j < columns_.size(); j++) {
                    const Window &y = rows_[i], &x = columns_[j];
                    const int all = include_pad_ ? y.size * x.size : (y.end - y.begin) * (x.end - x.begin);
                    const std::size_t cell = c * out.shape.channel_floats() + (i * columns_.size() + j) * TILE;
                    visit(from, cell, y, x, divisor_ != 0 ? static_cast<float>(divisor_) : static_cast<float>(all));
                }
        }
    }

    /** Whether every place lies in exactly one window, as in a global pool: then nothing is summed. */
    static bool covers_once(const std::vector<Window>& windows, int size) {
        int reached = 0;
        for (const Window& window : windows) {
            if (window.begin != reached) return false;
            reached = window.end;
        }
        return reached == size;
    }

    const std::vector<Window> rows_, columns_;
    const bool include_pad_;
    const double divisor_;
    const bool tiled_ = covers_once(rows_, in.shape.height) && covers_once(columns_, in.shape.width);
};

std::vector<Window> sliding(int size, int kernel, int stride, int before, int after) {
    if (2 * std::max(before, after) > kernel)
        throw std::invalid_argument("avgpool: the padding is more than half of the window");
    std::vector<Window> windows;
    for (int at = -before; at + kernel <= size + after; at += stride)
        windows.push_back({std::max(0, at), std::min(size, at + kernel), kernel});
    return windows;
}

std::vector<Window> sliding_rows(const OpSpec& spec, const Shape& in) {
    return sliding(in.height, spec.integer("kh", 1), spec.integer("sh", 1), spec.integer("pt", 0), spec.integer("pb", 0));
}

std::vector<Window> sliding_columns(const OpSpec& spec, const Shape& in) {
    return sliding(in.width, spec.integer("kw", 1), spec.integer("sw", 1), spec.integer("pl", 0), spec.integer("pr", 0));
}

std::vector<Window> adaptive(int size, int outputs) {
    std::vector<Window> windows;
    for (long i = 0; i < outputs; i++) {
        const int begin = static_cast<int>(i * size / outputs), end = static_cast<int>(((i + 1) * size + outputs - 1) / outputs);
        windows.push_back({begin, end, end - begin});
    }
    return windows;
}

}  // namespace

Shape avgpool_shape(const OpSpec& spec, const Shape& in) {
    return checked(in.channels, static_cast<long>(sliding_rows(spec, in).size()),
                   static_cast<long>(sliding_columns(spec, in).size()), "avgpool");
}

std::unique_ptr<Op> make_avgpool(const OpSpec& spec, Value& in, Value& out) {
    return std::make_unique<AvgPool>(in, out, sliding_rows(spec, in.shape), sliding_columns(spec, in.shape),
                                     spec.flag("include_pad"), spec.integer("divisor", -(1 << 24), 1 << 24));
}

Shape adaptive_avgpool_shape(const OpSpec& spec, const Shape& in) {
    return checked(in.channels, spec.integer("oh", 1), spec.integer("ow", 1), "adaptive_avgpool");
}

std::unique_ptr<Op> make_adaptive_avgpool(const OpSpec&, Value& in, Value& out) {
    return std::make_unique<AvgPool>(in, out, adaptive(in.shape.height, out.shape.height),
                                     adaptive(in.shape.width, out.shape.width), true, 0);
}

}  // namespace lanes::LANES_ISA
