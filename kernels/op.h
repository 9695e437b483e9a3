// What an operation of a network is: it reads one value, makes another, and sends the gradient back.
#pragma once

#include <map>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

#include "buffer.h"

namespace lanes::LANES_ISA {

struct Shape {
    int channels, height, width;
    int positions() const { return height * width; }
    int units() const { return channels * height * width; }
    // Floats of a channel of an activation. Some more than its positions: channels of 16 x 16 or 32 x 32 positions
    // would lie a power of two apart and push one another out of the cache.
    std::size_t channel_floats() const {
        return static_cast<std::size_t>(positions()) * TILE + (positions() > 1 ? 4 * TILE : 0);
    }
    std::size_t floats() const { return channels * channel_floats(); }
    // Floats before a unit; units count channel by channel.
    std::size_t offset(int unit) const {
        return unit / positions() * channel_floats() + static_cast<std::size_t>(unit % positions()) * TILE;
    }
};

// An activation of one tile, [channel][row][column][example] with a gap behind each channel, and its gradient in the same layout.
struct Value {
    Shape shape;
    // Where the value is the output of a ReLU, whoever writes its gradient writes zero where the value is
    // zero: the ReLU's own derivative, applied once and in registers.
    bool relu = false;
    // The image needs no gradient.
    bool wants_gradient = true;
    Buffer data, gradient;
    // The image also example by example, [example][unit], as it came; rows are `row_stride` floats apart and
    // end in zeros.
    Buffer rows;
    std::size_t row_stride = 0;
    // By unit: whether anything that is trained or predicted depends on it. What nothing depends on is not
    // computed and stays zero.
    std::vector<std::uint8_t> needed;

    // Whether a channel has a needed unit.
    bool needs_channel(int channel) const {
        const int n = shape.positions();
        for (int i = 0; i < n; i++)
            if (needed[static_cast<std::size_t>(channel) * n + i]) return true;
        return false;
    }
};

class Update;

// One pass of one tile through the network.
struct Pass {
    bool training = false;
    // Gradients of the first tile replace those of the step before; the others add to them. Weights have not changed since
    // the first one.
    bool first = true;
    // The step's rule where an operation may apply it itself: in the last tile of small networks.
    const Update* update = nullptr;
    // Of the step's random numbers, and the number of the tile's first example in the batch.
    std::uint64_t seed = 0;
    int first_example = 0;
};

class Weighted;

class Op {
  public:
    Op(Value& in, Value& out) : in(in), out(out) {}
    virtual ~Op() = default;
    virtual void forward(const Pass& pass) = 0;
    // The gradient of `out` is there, gated; writes that of `in` if it is wanted, and those of the weights.
    virtual void backward(const Pass& pass) = 0;
    // Marks the units of `in` that the needed units of `out` depend on. Called from the last operation to
    // the first whenever masks change.
    virtual void mark_needed() = 0;
    virtual Weighted* weighted() { return nullptr; }
    // Whether it reads the image also example by example in training.
    virtual bool wants_rows() const { return false; }
    // Multiply-adds of one example, forward.
    virtual double work() const { return 0; }

    Value& in;
    Value& out;
};

// An operation as it is asked for.
struct OpSpec {
    std::string kind;
    std::vector<int> inputs;
    std::map<std::string, double> attributes;
    int index = 0;  // its place in the network

    double number(const char* name) const {
        const auto found = attributes.find(name);
        if (found == attributes.end()) throw std::invalid_argument(kind + ": no attribute '" + name + "'");
        return found->second;
    }
    // An integer from `least` to `most`. Products of two of the default bound fit into 32 bits.
    int integer(const char* name, int least, int most = 4096) const {
        const double value = number(name);
        if (!(value >= least && value <= most) || value != static_cast<int>(value))
            throw std::invalid_argument(kind + ": " + name + " is " + std::to_string(value) + ", expected an integer from " +
                                        std::to_string(least) + " to " + std::to_string(most));
        return static_cast<int>(value);
    }
    bool flag(const char* name) const { return integer(name, 0, 1) != 0; }
};

// Refuses shapes that 32-bit offsets could not reach.
inline Shape checked(long channels, long height, long width, const std::string& who) {
    if (channels < 1 || height < 1 || width < 1)
        throw std::invalid_argument(who + ": its output would be " + std::to_string(channels) + "x" +
                                    std::to_string(height) + "x" + std::to_string(width));
    const double floats = static_cast<double>(channels) * (static_cast<double>(height) * width + 4) * TILE;
    if (floats > 1.5e9) throw std::invalid_argument(who + ": more than 46 million units are not supported");
    return {static_cast<int>(channels), static_cast<int>(height), static_cast<int>(width)};
}

// An operation tells the shape of its output first; the network then makes the value and the operation.
struct OpKind {
    Shape (*shape)(const OpSpec&, const Shape& in);
    std::unique_ptr<Op> (*make)(const OpSpec&, Value& in, Value& out);
};

const OpKind& op_kind(const std::string& kind);

}  // namespace lanes::LANES_ISA
