#include <algorithm>

#include "groups.h"
#include "winograd_tiles.h"

namespace lanes::LANES_ISA {
namespace {

// Tiles whose products are one chain, in registers; the sums of strips are added up in memory. Bits depend on it.
constexpr int STRIP = 4;
constexpr std::ptrdiff_t STRIP_LANES = STRIP * TILE;
// Channels multiplied at once: their numbers of a strip stay in the first cache for all outputs.
constexpr int BLOCK = 64;
// Rows that a row of tiles reads; the next ones take the place of the first.
constexpr int ROWS = 4;

// A of two vectors.
LANES_INLINE void turn_outputs(V a, V b, V* to, int step) {
    to[0] = a;
    to[step] = a + b;
    to[2 * step] = a - b;
    to[3 * step] = -b;
}

// A dy A': the numbers of a tile of output gradients, `floats` apart.
LANES_INLINE void turn_gradients(const V* dy, float* to, std::ptrdiff_t floats) {
    V half[8], all[16];
    turn_outputs(dy[0], dy[2], half, 2);
    turn_outputs(dy[1], dy[3], half + 1, 2);
    LANES_UNROLL(4)
    for (int i = 0; i < 4; i++) turn_outputs(half[2 * i], half[2 * i + 1], all + 4 * i, 1);
    LANES_UNROLL(16)
    for (int n = 0; n < NUMBERS; n++) store(to + n * floats, all[n]);
}

// G' of four numbers.
void turn_back(float a, float b, float c, float d, float* to, int step) {
    to[0] = a + 0.5f * (b + c);
    to[step] = 0.5f * (b - c);
    to[2 * step] = 0.5f * (b + c) + d;
}

// G' s G: the gradient of a filter.
void turn_numbers(const float* sums, std::ptrdiff_t floats, float* gradient) {
    float all[NUMBERS], half[12];
    for (int n = 0; n < NUMBERS; n++) all[n] = sums[n * floats];
    for (int j = 0; j < 4; j++) turn_back(all[j], all[4 + j], all[8 + j], all[12 + j], half + j, 4);
    for (int i = 0; i < 3; i++) turn_back(half[4 * i], half[4 * i + 1], half[4 * i + 2], half[4 * i + 3], gradient + 3 * i, 1);
}

// Sums over examples for some outputs and channels, for one number.
template <int OUTPUTS, int VECTORS>
LANES_NOINLINE void multiply(const float* inputs, int width, const float* outputs, int examples, bool first, float* to,
                             std::ptrdiff_t to_output) {
    V sum[OUTPUTS][VECTORS];
    LANES_UNROLL(16)
    for (int k = 0; k < OUTPUTS; k++)
        LANES_UNROLL(16)
        for (int i = 0; i < VECTORS; i++) sum[k][i] = zero();
    for (int example = 0; example < examples; example++) {
        V in[VECTORS];
        LANES_UNROLL(16)
        for (int i = 0; i < VECTORS; i++) in[i] = load(inputs + i * WIDTH);
        LANES_UNROLL(16)
        for (int k = 0; k < OUTPUTS; k++) {
            const V d = splat(outputs[k * STRIP_LANES]);
            LANES_UNROLL(16)
            for (int i = 0; i < VECTORS; i++) sum[k][i] = fma(d, in[i], sum[k][i]);
        }
        inputs += width;
        outputs++;
    }
    LANES_UNROLL(16)
    for (int k = 0; k < OUTPUTS; k++)
        LANES_UNROLL(16)
        for (int i = 0; i < VECTORS; i++) {
            float* at = to + k * to_output + i * WIDTH;
            store(at, first ? sum[k][i] : load(at) + sum[k][i]);
        }
}

template <int VECTORS>
void multiply_group(int size, const float* inputs, int width, const float* outputs, int examples, bool first, float* to,
                    std::ptrdiff_t to_output) {
    static_assert(GROUP == 6);
    switch (size) {
        case 1: return multiply<1, VECTORS>(inputs, width, outputs, examples, first, to, to_output);
        case 2: return multiply<2, VECTORS>(inputs, width, outputs, examples, first, to, to_output);
        case 3: return multiply<3, VECTORS>(inputs, width, outputs, examples, first, to, to_output);
        case 4: return multiply<4, VECTORS>(inputs, width, outputs, examples, first, to, to_output);
        case 5: return multiply<5, VECTORS>(inputs, width, outputs, examples, first, to, to_output);
        default: return multiply<6, VECTORS>(inputs, width, outputs, examples, first, to, to_output);
    }
}

}  // namespace

// Where numbers lie, in floats. Inputs: [number][block of channels][example][channel], output gradients:
// [number][output][example], sums: [number][output][channel].
struct WinogradGradient::Layout {
    explicit Layout(const WinogradShape& shape)
        : tiles(shape.out), columns(2 * tiles.across + 2),
          channels((static_cast<int>(shape.inputs.size()) + CLASSES - 1) / CLASSES * CLASSES),
          position(static_cast<std::ptrdiff_t>(TILE) * channels + GAP), row(columns * position),
          input(STRIP_LANES * channels + GAP),
          output(STRIP_LANES * static_cast<std::ptrdiff_t>(shape.outputs.size()) + GAP),
          sum(static_cast<std::ptrdiff_t>(shape.outputs.size()) * channels + GAP) {}

    // A row of inputs, the channels of an example side by side.
    void transpose_row(const WinogradShape& shape, const float* x, int number, float* to) const;
    // Some tiles of inputs, and of output gradients.
    void turn_inputs(const float* const* rows, int first, int count, float* to) const;
    void turn_outputs(const WinogradShape& shape, const float* dy, int row, int first, int count, float* to) const;

    const Tiles tiles;
    const int columns, channels;  // a multiple of 16 channels: the last ones are zero
    const std::ptrdiff_t position, row;  // of the rows of inputs
    const std::ptrdiff_t input, output, sum;  // from one number to the next
};

LANES_NOINLINE void WinogradGradient::Layout::transpose_row(const WinogradShape& shape, const float* x, int number,
                                                            float* to) const {
    const int i = number - shape.top, live = static_cast<int>(shape.inputs.size());
    if (i < 0 || i >= shape.in.height) {
        std::memset(to, 0, row * sizeof(float));
        return;
    }
    // Columns outside of the input stay zero.
    const int begin = std::max(0, shape.left), end = std::min(columns, shape.in.width + shape.left);
    for (int channel = 0; channel < channels; channel += WIDTH)
        for (int column = begin; column < end; column++) {
            const std::ptrdiff_t from = (static_cast<std::ptrdiff_t>(i) * shape.in.width + column - shape.left) * TILE;
            for (int lane = 0; lane < TILE; lane += WIDTH) {
                V square[WIDTH];
                LANES_UNROLL(16)
                for (int c = 0; c < WIDTH; c++)
                    square[c] = channel + c < live
                                    ? load(x + shape.inputs[channel + c] * shape.in.channel + from + lane)
                                    : zero();
                transpose_square(square, square);
                float* place = to + column * position + static_cast<std::ptrdiff_t>(lane) * channels + channel;
                LANES_UNROLL(16)
                for (int l = 0; l < WIDTH; l++) store(place + static_cast<std::ptrdiff_t>(l) * channels, square[l]);
            }
        }
}

LANES_NOINLINE void WinogradGradient::Layout::turn_inputs(const float* const* rows, int first, int count, float* to) const {
    for (int tile = 0; tile < count; tile++)
        for (int begin = 0; begin < channels; begin += BLOCK) {
            const int width = std::min(BLOCK, channels - begin);
            const std::ptrdiff_t from = 2 * (first + tile) * position + begin;
            float* const block = to + begin * STRIP_LANES + static_cast<std::ptrdiff_t>(tile) * TILE * width;
            for (int lane = 0; lane < TILE; lane++)
                for (int c = 0; c < width; c += WIDTH) {
                    V x[16];
                    LANES_UNROLL(16)
                    for (int n = 0; n < 16; n++)
                        x[n] = load(rows[n / 4] + from + (n % 4) * position +
                                    static_cast<std::ptrdiff_t>(lane) * channels + c);
                    turn_tile(x, block + lane * width + c, input);
                }
        }
}

LANES_NOINLINE void WinogradGradient::Layout::turn_outputs(const WinogradShape& shape, const float* dy, int row,
                                                           int first, int count, float* to) const {
    const std::ptrdiff_t line = static_cast<std::ptrdiff_t>(shape.out.width) * TILE;
    const int rows = std::min(2, shape.out.height - row);
    for (std::size_t k = 0; k < shape.outputs.size(); k++)
        for (int tile = 0; tile < count; tile++) {
            const int column = 2 * (first + tile), across = std::min(2, shape.out.width - column);
            const float* from =
                dy + shape.outputs[k] * shape.out.channel + row * line + static_cast<std::ptrdiff_t>(column) * TILE;
            for (int part = 0; part < TILE; part += WIDTH) {
                V d[4];
                LANES_UNROLL(4)
                for (int q = 0; q < 4; q++)
                    d[q] = q / 2 < rows && q % 2 < across ? load(from + (q / 2) * line + (q % 2) * TILE + part) : zero();
                turn_gradients(d, to + static_cast<std::ptrdiff_t>(k) * STRIP_LANES + tile * TILE + part, output);
            }
        }
}

WinogradGradient::WinogradGradient(WinogradShape shape) : shape_(std::move(shape)) {
    const Layout layout(shape_);
    rows_ = Buffer(ROWS * layout.row);
    inputs_ = Buffer(NUMBERS * layout.input);
    outputs_ = Buffer(NUMBERS * layout.output);
    sums_ = Buffer(NUMBERS * layout.sum);
}

void WinogradGradient::multiply_strip(const Layout& layout, int examples, bool first) {
    const Groups groups(shape_.outputs.size());
    for (int n = 0; n < NUMBERS; n++)
        for (int begin = 0; begin < layout.channels; begin += BLOCK) {
            const int width = std::min(BLOCK, layout.channels - begin);
            const float* inputs = inputs_.data() + n * layout.input + begin * STRIP_LANES;
            for (int group = 0; group < groups.count; group++) {
                const std::ptrdiff_t output = groups.begin(group);
                const float* outputs = outputs_.data() + n * layout.output + output * STRIP_LANES;
                float* to = sums_.data() + n * layout.sum + output * layout.channels + begin;
                int c = 0;
                const auto multiply_some = [&](auto vectors) {
                    for (; c + vectors.value * WIDTH <= width; c += vectors.value * WIDTH)
                        multiply_group<vectors.value>(groups.size(group), inputs + c, width, outputs, examples, first, to + c,
                                                      layout.channels);
                };
                if constexpr (WIDTH == 16) multiply_some(std::integral_constant<int, 4>());
                multiply_some(std::integral_constant<int, 2>());
                if constexpr (WIDTH == 16) multiply_some(std::integral_constant<int, 1>());
            }
        }
}

void WinogradGradient::run(const float* x, const float* dy, bool first, float* gradient, std::size_t row) {
    const Layout layout(shape_);
    const auto place = [&](int number) { return rows_.data() + number % ROWS * layout.row; };
    for (int number = 0; number < 2 * layout.tiles.down; number += 2) {
        for (int i = number == 0 ? 0 : 2; i < ROWS; i++) layout.transpose_row(shape_, x, number + i, place(number + i));
        const float* const rows[ROWS] = {place(number), place(number + 1), place(number + 2), place(number + 3)};
        for (int tile = 0; tile < layout.tiles.across; tile += STRIP) {
            const int count = std::min(STRIP, layout.tiles.across - tile);
            layout.turn_inputs(rows, tile, count, inputs_.data());
            layout.turn_outputs(shape_, dy, number, tile, count, outputs_.data());
            multiply_strip(layout, count * TILE, number == 0 && tile == 0);
        }
    }
    for (std::size_t k = 0; k < shape_.outputs.size(); k++)
        for (std::size_t c = 0; c < shape_.inputs.size(); c++) {
            float found[9];
            turn_numbers(sums_.data() + k * layout.channels + c, layout.sum, found);
            for (int t = 0; t < 9; t++) {
                float& total = gradient[k * row + 9 * c + t];
                total = (first ? 0.f : total) + found[t];
            }
        }
}

}  // namespace lanes::LANES_ISA
