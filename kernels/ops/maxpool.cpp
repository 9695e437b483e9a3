// Max-pooling with windows of any size, stride and padding.
#include <algorithm>

#include "../op.h"

namespace lanes::LANES_ISA {
namespace {

struct Windows {
    int kernel, stride, before, after;

    int count(int size) const {
        const int span = size + before + after - kernel;
        return span < 0 ? 0 : span / stride + 1;
    }
    int begin(int window) const { return std::max(0, window * stride - before); }
    int end(int window, int size) const { return std::min(size, window * stride - before + kernel); }
};

struct Geometry {
    Windows y, x;
    explicit Geometry(const OpSpec& spec)
        : y{spec.integer("kh", 1), spec.integer("sh", 1), spec.integer("pt", 0), spec.integer("pb", 0)},
          x{spec.integer("kw", 1), spec.integer("sw", 1), spec.integer("pl", 0), spec.integer("pr", 0)} {
        // A window that lies in the padding alone has no maximum.
        if (2 * std::max(y.before, y.after) > y.kernel || 2 * std::max(x.before, x.after) > x.kernel)
            throw std::invalid_argument("maxpool: the padding is more than half of the window");
    }
};

class MaxPool final : public Op {
  public:
    MaxPool(Value& in, Value& out, const Geometry& geometry)
        : Op(in, out), geometry_(geometry), winner_(out.shape.floats()) {}

    void forward(const Pass&) override {
        for_windows([&](const float* x, std::size_t at, int y0, int y1, int x0, int x1) {
            for (int part = 0; part < TILE; part += WIDTH) {
                V best = load(x + (static_cast<std::size_t>(y0) * in.shape.width + x0) * TILE + part);
                VI which = {};
                int number = 0;
                for (int i = y0; i < y1; i++)
                    for (int j = x0; j < x1; j++, number++) {
                        const V value = load(x + (static_cast<std::size_t>(i) * in.shape.width + j) * TILE + part);
                        const VI wins = ~(value <= best) & (best == best);  // the first of equals; NaN wins and stays
                        best = select(wins, value, best);
                        which = wins ? VI{} + number : which;
                    }
                store(out.data.data() + at + part, best);
                store(winner_.data() + at + part, reinterpret_cast<V>(which));
            }
        });
    }

    void backward(const Pass&) override {
        if (!in.wants_gradient) return;
        const std::size_t channel = in.shape.channel_floats();
        for (int c = 0; c < in.shape.channels; c++)
            if (out.needs_channel(c)) std::memset(in.gradient.data() + c * channel, 0, channel * sizeof(float));
        for_windows([&](const float* x, std::size_t at, int y0, int y1, int x0, int x1) {
            float* dx = in.gradient.data() + (x - in.data.data());
            for (int part = 0; part < TILE; part += WIDTH) {
                V d = load(out.gradient.data() + at + part);
                if (in.relu) d = select(load(out.data.data() + at + part) > zero(), d, zero());
                const VI which = reinterpret_cast<VI>(load(winner_.data() + at + part));
                int number = 0;
                for (int i = y0; i < y1; i++)
                    for (int j = x0; j < x1; j++, number++) {
                        float* to = dx + (static_cast<std::size_t>(i) * in.shape.width + j) * TILE + part;
                        store(to, load(to) + keep(d, which == number));
                    }
            }
        });
    }

    void mark_needed() override {
        std::fill(in.needed.begin(), in.needed.end(), 0);
        const int positions = in.shape.positions();
        for (int c = 0; c < in.shape.channels; c++)
            if (out.needs_channel(c)) std::fill_n(in.needed.begin() + static_cast<std::ptrdiff_t>(c) * positions, positions, 1);
    }

  private:
    // Calls `visit(channel of x, offset into out, window)` for the windows of all needed channels.
    template <class Visit>
    void for_windows(const Visit& visit) const {
        const int height = out.shape.height, width = out.shape.width;
        for (int c = 0; c < out.shape.channels; c++) {
            if (!out.needs_channel(c)) continue;
            const float* x = in.data.data() + c * in.shape.channel_floats();
            for (int i = 0; i < height; i++)
                for (int j = 0; j < width; j++)
                    visit(x, c * out.shape.channel_floats() + (static_cast<std::size_t>(i) * width + j) * TILE, geometry_.y.begin(i),
                          geometry_.y.end(i, in.shape.height), geometry_.x.begin(j), geometry_.x.end(j, in.shape.width));
        }
    }

    const Geometry geometry_;
    Buffer winner_;  // the number of the largest input in its window, as an integer
};

}  // namespace

Shape maxpool_shape(const OpSpec& spec, const Shape& in) {
    const Geometry geometry(spec);
    return checked(in.channels, geometry.y.count(in.height), geometry.x.count(in.width), "maxpool");
}

std::unique_ptr<Op> make_maxpool(const OpSpec& spec, Value& in, Value& out) {
    return std::make_unique<MaxPool>(in, out, Geometry(spec));
}

}  // namespace lanes::LANES_ISA
