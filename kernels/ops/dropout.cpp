// Dropout. Whether a unit of an example is kept depends on the step's seed, the operation, the unit and the
// example's place in the batch alone: word (example modulo 4) of the Philox4x32-10 block whose key is the
// seed and whose counter is (unit, example / 4, operation, 0). It is dropped where the word is below p * 2^32.
#include <cmath>

#include "../op.h"

namespace lanes::LANES_ISA {
namespace {

// Salmon et al. 2011, Parallel random numbers: as easy as 1, 2, 3.
LANES_INLINE void philox(std::uint32_t counter[4], std::uint64_t seed) {
    std::uint32_t key[2] = {static_cast<std::uint32_t>(seed), static_cast<std::uint32_t>(seed >> 32)};
    for (int round = 0; round < 10; round++) {
        const std::uint64_t a = std::uint64_t{0xD2511F53u} * counter[0], b = std::uint64_t{0xCD9E8D57u} * counter[2];
        const std::uint32_t c1 = counter[1], c3 = counter[3];
        counter[0] = static_cast<std::uint32_t>(b >> 32) ^ c1 ^ key[0];
        counter[1] = static_cast<std::uint32_t>(b);
        counter[2] = static_cast<std::uint32_t>(a >> 32) ^ c3 ^ key[1];
        counter[3] = static_cast<std::uint32_t>(a);
        key[0] += 0x9E3779B9u;
        key[1] += 0xBB67AE85u;
    }
}

class Dropout final : public Op {
  public:
    Dropout(Value& in, Value& out, double p, int index)
        : Op(in, out), index_(static_cast<std::uint32_t>(index)), drop_below_(static_cast<std::uint64_t>(std::ldexp(p, 32))),
          scale_(static_cast<float>(1.0 / (1.0 - p))), kept_(in.shape.floats()) {}

    void forward(const Pass& pass) override {
        const int units = in.shape.units();
        if (!pass.training) {
            std::memcpy(out.data.data(), in.data.data(), in.shape.floats() * sizeof(float));
            return;
        }
        for (int unit = 0; unit < units; unit++) {
            if (!out.needed[unit]) continue;
            const std::size_t at = in.shape.offset(unit);
            auto* bits = reinterpret_cast<std::int32_t*>(kept_.data() + at);
            for (int lane = 0; lane < TILE; lane += 4) {
                std::uint32_t words[4] = {static_cast<std::uint32_t>(unit),
                                          static_cast<std::uint32_t>((pass.first_example + lane) / 4), index_, 0};
                philox(words, pass.seed);
                for (int k = 0; k < 4; k++) bits[lane + k] = words[k] < drop_below_ ? 0 : -1;
            }
            scale_kept(in.data.data() + at, out.data.data() + at, at, false);
        }
    }

    void backward(const Pass&) override {
        if (!in.wants_gradient) return;
        for (int unit = 0; unit < in.shape.units(); unit++) {
            if (!out.needed[unit]) continue;
            const std::size_t at = in.shape.offset(unit);
            scale_kept(out.gradient.data() + at, in.gradient.data() + at, at, in.relu);
        }
    }

    void mark_needed() override { in.needed = out.needed; }

  private:
    LANES_INLINE void scale_kept(const float* from, float* to, std::size_t at, bool gated) {
        for (int part = 0; part < TILE; part += WIDTH) {
            V value = keep(load(from + part) * splat(scale_), reinterpret_cast<VI>(load(kept_.data() + at + part)));
            if (gated) value = select(load(in.data.data() + at + part) > zero(), value, zero());
            store(to + part, value);
        }
    }

    const std::uint32_t index_;
    const std::uint64_t drop_below_;
    const float scale_;
    Buffer kept_;  // all ones or zero
};

double probability(const OpSpec& spec) {
    const double p = spec.number("p");
    if (!(p >= 0 && p < 1)) throw std::invalid_argument("dropout: p is " + std::to_string(p) + ", expected 0 <= p < 1");
    return p;
}

}  // namespace

Shape dropout_shape(const OpSpec& spec, const Shape& in) {
    probability(spec);
    return in;
}

std::unique_ptr<Op> make_dropout(const OpSpec& spec, Value& in, Value& out) {
    return std::make_unique<Dropout>(in, out, probability(spec), spec.index);
}

}  // namespace lanes::LANES_ISA
