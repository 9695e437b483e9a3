// A ReLU that no layer before it has taken over.
#include "../op.h"

namespace lanes::LANES_ISA {
namespace {

class Relu final : public Op {
  public:
    Relu(Value& in, Value& out) : Op(in, out) { out.relu = true; }

    void forward(const Pass&) override {
        for (std::size_t i = 0; i < in.shape.floats(); i += WIDTH)
            store(out.data.data() + i, positive(load(in.data.data() + i)));
    }

    void backward(const Pass&) override {
        // The gradient of the output comes gated; a gate of the input is the same one.
        if (in.wants_gradient) std::memcpy(in.gradient.data(), out.gradient.data(), in.shape.floats() * sizeof(float));
    }

    void mark_needed() override { in.needed = out.needed; }
};

}  // namespace

Shape relu_shape(const OpSpec&, const Shape& in) { return in; }

std::unique_ptr<Op> make_relu(const OpSpec&, Value& in, Value& out) { return std::make_unique<Relu>(in, out); }

}  // namespace lanes::LANES_ISA
