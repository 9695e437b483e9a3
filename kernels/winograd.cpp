#include <algorithm>

#include "groups.h"
#include "winograd_tiles.h"

namespace lanes::LANES_ISA {
namespace {

// Tiles whose products are summed together, and how many of their vectors in one loop.
constexpr int PAIR = 2;
constexpr int PAIR_FLOATS = PAIR * TILE;
constexpr int VECTORS = WIDTH == 16 ? 4 : 2;
// Channels summed at once: their numbers (256 bytes each) stay in the first cache for all outputs.
constexpr int CHANNEL_BLOCK = 128;
// Outputs between what is fetched and what is finished.
constexpr std::size_t AHEAD = 4;
// Floats from one output of the sums to the next.
constexpr std::ptrdiff_t OUTPUT_FLOATS = NUMBERS * PAIR_FLOATS + GAP;

// Floats from one number of the tiles to the next.
std::ptrdiff_t number_floats(const WinogradShape& shape) {
    return static_cast<std::ptrdiff_t>(shape.inputs.size()) * PAIR_FLOATS + GAP;
}

// All channels of a tile. `at(channel, n)` points to the n-th of its inputs.
template <class At>
LANES_INLINE void turn_channels(const WinogradShape& shape, float* to, const At& at) {
    const std::ptrdiff_t floats = number_floats(shape);
    const int channels = static_cast<int>(shape.inputs.size());
    const std::int32_t* const inputs = shape.inputs.data();
    for (int c = 0; c < channels; c++) {
        const std::ptrdiff_t channel = inputs[c] * shape.in.channel;
        for (int part = 0; part < TILE; part += WIDTH) {
            V x[16];
            LANES_UNROLL(16)
            for (int n = 0; n < 16; n++) x[n] = load(at(channel, n) + part);
            turn_tile(x, to + c * PAIR_FLOATS + part, floats);
        }
    }
}

LANES_NOINLINE void turn_inside(const WinogradShape& shape, const float* x, float* to) {
    const std::ptrdiff_t line = static_cast<std::ptrdiff_t>(shape.in.width) * TILE;
    turn_channels(shape, to, [=](std::ptrdiff_t channel, int n) { return x + channel + (n / 4) * line + (n % 4) * TILE; });
}

LANES_NOINLINE void turn_border(const WinogradShape& shape, const float* x, int row, int column, float* to) {
    std::ptrdiff_t from[16];  // or -1 for what is outside
    for (int n = 0; n < 16; n++) {
        const int i = row + n / 4, j = column + n % 4;
        const bool inside = i >= 0 && i < shape.in.height && j >= 0 && j < shape.in.width;
        from[n] = inside ? (static_cast<std::ptrdiff_t>(i) * shape.in.width + j) * TILE : -1;
    }
    turn_channels(shape, to, [&](std::ptrdiff_t channel, int n) { return from[n] < 0 ? NOTHING : x + channel + from[n]; });
}

void turn_inputs_of(const WinogradShape& shape, const float* x, const Corner& corner, float* to) {
    const int row = corner.row - shape.top, column = corner.column - shape.left;
    if (row >= 0 && column >= 0 && row + 4 <= shape.in.height && column + 4 <= shape.in.width)
        turn_inside(shape, x + (static_cast<std::ptrdiff_t>(row) * shape.in.width + column) * TILE, to);
    else
        turn_border(shape, x, row, column, to);
}

// Some outputs of a pair for one number, summed over some channels. Sums of earlier channels are in `to`.
template <int OUTPUTS>
LANES_NOINLINE void multiply(const float* tiles, const float* filters, int channels, bool first, float* to) {
    for (int part = 0; part < PAIR_FLOATS; part += VECTORS * WIDTH) {
        V sum[OUTPUTS][VECTORS];
        LANES_UNROLL(16)
        for (int k = 0; k < OUTPUTS; k++)
            LANES_UNROLL(16)
            for (int i = 0; i < VECTORS; i++) sum[k][i] = first ? zero() : load(to + k * OUTPUT_FLOATS + part + i * WIDTH);
        const float *filter = filters, *from = tiles + part;
        for (int c = 0; c < channels; c++) {
            V in[VECTORS];
            LANES_UNROLL(16)
            for (int i = 0; i < VECTORS; i++) in[i] = load(from + i * WIDTH);
            LANES_UNROLL(16)
            for (int k = 0; k < OUTPUTS; k++) {
                const V w = splat(filter[k]);
                LANES_UNROLL(16)
                for (int i = 0; i < VECTORS; i++) sum[k][i] = fma(w, in[i], sum[k][i]);
            }
            filter += OUTPUTS;
            from += PAIR_FLOATS;
        }
        LANES_UNROLL(16)
        for (int k = 0; k < OUTPUTS; k++)
            LANES_UNROLL(16)
            for (int i = 0; i < VECTORS; i++) store(to + k * OUTPUT_FLOATS + part + i * WIDTH, sum[k][i]);
    }
}

void multiply_group(int size, const float* tiles, const float* filters, int channels, bool first, float* to) {
    static_assert(GROUP == 6);
    switch (size) {
        case 1: return multiply<1>(tiles, filters, channels, first, to);
        case 2: return multiply<2>(tiles, filters, channels, first, to);
        case 3: return multiply<3>(tiles, filters, channels, first, to);
        case 4: return multiply<4>(tiles, filters, channels, first, to);
        case 5: return multiply<5>(tiles, filters, channels, first, to);
        default: return multiply<6>(tiles, filters, channels, first, to);
    }
}

// A' m A: the four outputs of a tile.
LANES_INLINE void turn_sums(const float* from, V* outputs) {
    V half[8];
    LANES_UNROLL(4)
    for (int j = 0; j < 4; j++) {
        const V a = load(from + j * PAIR_FLOATS), b = load(from + (4 + j) * PAIR_FLOATS),
                c = load(from + (8 + j) * PAIR_FLOATS), d = load(from + (12 + j) * PAIR_FLOATS);
        half[j] = (a + b) + c;
        half[4 + j] = (b - c) - d;
    }
    LANES_UNROLL(2)
    for (int i = 0; i < 2; i++) {
        const V* h = half + 4 * i;
        outputs[2 * i] = (h[0] + h[1]) + h[2];
        outputs[2 * i + 1] = (h[1] - h[2]) - h[3];
    }
}

// Calls `use(first float of the channel, part, four outputs)` for all outputs and lanes of a tile, with their bias, and
// before that `fetch` for one that comes soon: its channel is too far away for the processor to guess. That saves 3 % of a
// step of Conv-4.
template <class Fetch, class Use>
LANES_INLINE void all_outputs(const WinogradShape& shape, const float* sums, const float* bias, const Fetch& fetch,
                              const Use& use) {
    const std::size_t count = shape.outputs.size();
    for (std::size_t k = 0; k < count; k++) {
        fetch(shape.outputs[std::min(k + AHEAD, count - 1)] * shape.out.channel);
        const V more = splat(bias ? bias[shape.outputs[k]] : 0.f);
        for (int part = 0; part < TILE; part += WIDTH) {
            V four[4];
            turn_sums(sums + k * OUTPUT_FLOATS + part, four);
            LANES_UNROLL(4)
            for (int q = 0; q < 4; q++) four[q] += more;
            use(shape.outputs[k] * shape.out.channel, part, four);
        }
    }
}

LANES_NOINLINE void finish_tile(const WinogradShape& shape, const float* sums, const Corner& corner, float* y,
                                const Epilogue& epilogue) {
    const std::ptrdiff_t line = static_cast<std::ptrdiff_t>(shape.out.width) * TILE;
    const std::ptrdiff_t at = corner.row * line + static_cast<std::ptrdiff_t>(corner.column) * TILE;
    const int rows = std::min(2, shape.out.height - corner.row), columns = std::min(2, shape.out.width - corner.column);
    const bool relu = epilogue.relu;
    const float* const gate = epilogue.gate;
    const auto fetch = [&](std::ptrdiff_t channel) {
        for (int i = 0; i < rows; i++)
            for (int f = 0; f < columns * TILE; f += 16) {
                __builtin_prefetch(y + channel + at + i * line + f, 1);
                if (gate) __builtin_prefetch(gate + channel + at + i * line + f);
            }
    };
    all_outputs(shape, sums, epilogue.bias, fetch, [&](std::ptrdiff_t channel, int part, const V* four) {
        LANES_UNROLL(4)
        for (int q = 0; q < 4; q++) {
            if (q / 2 >= rows || q % 2 >= columns) continue;
            const std::ptrdiff_t to = channel + at + (q / 2) * line + (q % 2) * TILE + part;
            store(y + to, finished(four[q], relu, gate ? gate + to : nullptr));
        }
    });
}

LANES_NOINLINE void pool_tile(const WinogradShape& shape, const float* sums, const Corner& corner, float* y,
                              std::uint8_t* winner, const Epilogue& epilogue) {
    const std::ptrdiff_t at = (static_cast<std::ptrdiff_t>(corner.row / 2) * (shape.out.width / 2) + corner.column / 2) * TILE;
    const auto fetch = [&](std::ptrdiff_t channel) {
        for (int f = 0; f < TILE; f += 16) __builtin_prefetch(y + channel + at + f, 1);
        __builtin_prefetch(winner + channel + at, 1);
    };
    all_outputs(shape, sums, epilogue.bias, fetch, [&](std::ptrdiff_t channel, int part, const V* four) {
        const std::ptrdiff_t to = channel + at + part;
        finish_pooled<1>(four, epilogue, y + to, winner + to);
    });
}

// G of three numbers.
void turn_taps(float a, float b, float c, float* to, int step) {
    const float ends = a + c;
    to[0] = a;
    to[step] = 0.5f * (ends + b);
    to[2 * step] = 0.5f * (ends - b);
    to[3 * step] = c;
}

// G w G': the numbers of a filter.
void turn_filter(const float* w, bool reversed, float* numbers) {
    float g[9], half[12];
    for (int t = 0; t < 9; t++) g[t] = w[reversed ? 8 - t : t];
    for (int j = 0; j < 3; j++) turn_taps(g[j], g[3 + j], g[6 + j], half + j, 3);
    for (int i = 0; i < 4; i++) turn_taps(half[3 * i], half[3 * i + 1], half[3 * i + 2], numbers + 4 * i, 1);
}

}  // namespace

Winograd::Winograd(WinogradShape shape)
    : shape_(std::move(shape)), filters_(NUMBERS * shape_.inputs.size() * shape_.outputs.size()),
      tiles_(NUMBERS * number_floats(shape_)), sums_(shape_.outputs.size() * OUTPUT_FLOATS) {}

// By number, block of channels, group of outputs, channel: the order in which `multiply_pair` reads them.
void Winograd::set_filters(const float* weights, std::ptrdiff_t output_step, std::ptrdiff_t input_step, bool reversed) {
    const Groups groups(shape_.outputs.size());
    const int channels = static_cast<int>(shape_.inputs.size());
    const std::ptrdiff_t number = static_cast<std::ptrdiff_t>(channels) * groups.outputs;
    for (int group = 0; group < groups.count; group++) {
        const int first = groups.begin(group), size = groups.size(group);
        for (int c = 0; c < channels; c++) {
            const int begin = c / CHANNEL_BLOCK * CHANNEL_BLOCK, count = std::min(CHANNEL_BLOCK, channels - begin);
            float* to = filters_.data() + static_cast<std::ptrdiff_t>(begin) * groups.outputs +
                        static_cast<std::ptrdiff_t>(first) * count + static_cast<std::ptrdiff_t>(c - begin) * size;
            for (int k = 0; k < size; k++) {
                float numbers[NUMBERS];
                turn_filter(weights + (first + k) * output_step + c * input_step, reversed, numbers);
                for (int n = 0; n < NUMBERS; n++) to[n * number + k] = numbers[n];
            }
        }
    }
}

// All numbers of all outputs.
void Winograd::multiply_pair() {
    const Groups groups(shape_.outputs.size());
    const int channels = static_cast<int>(shape_.inputs.size());
    const float* filters = filters_.data();
    for (int n = 0; n < NUMBERS; n++)
        for (int begin = 0; begin < channels; begin += CHANNEL_BLOCK) {
            const int count = std::min(CHANNEL_BLOCK, channels - begin);
            const float* tiles = tiles_.data() + n * number_floats(shape_) + static_cast<std::ptrdiff_t>(begin) * PAIR_FLOATS;
            for (int group = 0; group < groups.count; group++) {
                float* to = sums_.data() + groups.begin(group) * OUTPUT_FLOATS + n * PAIR_FLOATS;
                multiply_group(groups.size(group), tiles, filters, count, begin == 0, to);
                filters += static_cast<std::ptrdiff_t>(groups.size(group)) * count;
            }
        }
}

// Calls `finish(corner, sums)` for every tile.
template <class Finish>
void Winograd::all_tiles(const float* x, const Finish& finish) {
    // Without inputs the sums stay as they were made: zero.
    const Tiles tiles(shape_.out);
    for (int tile = 0; tile < tiles.count; tile += PAIR) {
        const int count = std::min(PAIR, tiles.count - tile);
        for (int i = 0; i < count; i++) turn_inputs_of(shape_, x, tiles.corner(tile + i), tiles_.data() + i * TILE);
        multiply_pair();
        for (int i = 0; i < count; i++) finish(tiles.corner(tile + i), sums_.data() + i * TILE);
    }
}

void Winograd::run(const float* x, float* y, const Epilogue& epilogue) {
    all_tiles(x, [&](const Corner& corner, const float* sums) { finish_tile(shape_, sums, corner, y, epilogue); });
}

void Winograd::run_pooled(const float* x, float* y, std::uint8_t* winner, const Epilogue& epilogue) {
    all_tiles(x, [&](const Corner& corner, const float* sums) { pool_tile(shape_, sums, corner, y, winner, epilogue); });
}

}  // namespace lanes::LANES_ISA
