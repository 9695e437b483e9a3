// 3x3 convolutions at stride 1 in Winograd's form F(2x2, 3x3): 2x2 outputs of a channel take 16 instead of 36
// multiply-adds for each input channel. A tile of 4x4 inputs and a filter are turned into 16 numbers each, by sums; the
// products of those are summed over the channels, number by number, and what comes out is turned into the outputs:
//
//     y = A' [ sum over channels of (G w G') * (B' x B) ] A        (Lavin & Gray 2016)
//
//     A' = 1  1  1  0     B' = 1  0 -1  0     G =  1    0    0
//          0  1 -1 -1          0  1  1  0         1/2  1/2  1/2
//                              0 -1  1  0         1/2 -1/2  1/2
//                              0  1  0 -1          0    0    1
//
// What is outside of the input is zero. As in `gather`, every sum is one chain of multiply-adds in the order of the
// channels, whatever the blocking or the width.
#pragma once

#include <vector>

#include "buffer.h"
#include "epilogue.h"

namespace lanes::LANES_ISA {

// The positions of some channels.
struct Plane {
    int height = 0, width = 0;
    std::ptrdiff_t channel = 0;  // floats from one channel to the next
};

// How a convolution is laid out.
struct WinogradShape {
    Plane in, out;
    // Output (i, j) reads inputs (i - top, j - left) to (i - top + 2, j - left + 2).
    int top = 0, left = 0;
    // Which channels are read, and which are computed.
    std::vector<std::int32_t> inputs, outputs;
};

// The outputs of a convolution, or its input gradient, which is a convolution too.
class Winograd {
  public:
    Winograd() = default;
    explicit Winograd(WinogradShape shape);

    // Takes on weights: tap t of an output and an input is at output * output_step + input * input_step + t, or at 8 - t
    // if they are `reversed`.
    void set_filters(const float* weights, std::ptrdiff_t output_step, std::ptrdiff_t input_step, bool reversed);
    void run(const float* x, float* y, const Epilogue& epilogue);
    // Then a max-pool of 2x2 positions, as `gather_pooled` does it. The plane of the outputs is that before the pool, of
    // even sizes, but with the channels of the pooled y.
    void run_pooled(const float* x, float* y, std::uint8_t* winner, const Epilogue& epilogue);

  private:
    template <class Finish>
    void all_tiles(const float* x, const Finish& finish);
    void multiply_pair();

    WinogradShape shape_;
    // Filters as sixteen numbers; those of the inputs of two tiles; sums of their products.
    Buffer filters_, tiles_, sums_;
};

// The weight gradient of a convolution:
//
//     dw = G' [ sum over tiles and lanes of (A dy A') * (B' x B) ] G
//
// Channels of x lie side by side in a vector, and the gradient of an output is one number, broadcast: sixteen products of
// matrices, without a sum over the lanes of a register.
class WinogradGradient {
  public:
    WinogradGradient() = default;
    explicit WinogradGradient(WinogradShape shape);

    // `gradient` has nine numbers for each input, and `row` floats for each output. They are replaced if `first` and added
    // to otherwise.
    void run(const float* x, const float* dy, bool first, float* gradient, std::size_t row);

  private:
    struct Layout;
    void multiply_strip(const Layout& layout, int examples, bool first);

    WinogradShape shape_;
    // Rows of inputs, channels side by side; strips of tiles as sixteen numbers; the sums of their products.
    Buffer rows_, inputs_, outputs_, sums_;
};

}  // namespace lanes::LANES_ISA
