#include "gather.h"

namespace lanes::LANES_ISA {
namespace {

// Taps summed at once, so that the inputs of a block stay in the first cache from one position to the next;
// the sums wait in y between blocks. A linear layer has one position and gains nothing from short blocks.
constexpr int TAP_BLOCK = 192;
constexpr int TAP_BLOCK_OF_ONE = 1024;
// Positions that all blocks and outputs are done for before the next ones: their inputs stay in the second
// cache. A sparse layer reads all channels for a strip, a dense one those of a block.
constexpr int STRIP_POSITIONS = 32;
constexpr int STRIP_POSITIONS_SPARSE = 32;

// Where a block of outputs and positions lies.
struct Place {
    const float* x;
    std::ptrdiff_t in_step;   // floats between positions of the block
    float* y;
    std::ptrdiff_t out_step;
    const float* gate;        // as y
};

template <int POSITIONS, int VECTORS>
LANES_INLINE void finish(V* sums, const Place& at, const Epilogue& epilogue, float* y, std::ptrdiff_t from_y) {
    LANES_UNROLL(16)
    for (int i = 0; i < POSITIONS * VECTORS; i++) {
        const std::ptrdiff_t p = (i / VECTORS) * at.out_step + (i % VECTORS) * WIDTH;
        V sum = sums[i];
        if (epilogue.relu) sum = positive(sum);
        if (at.gate) sum = select(load(at.gate + from_y + p) > zero(), sum, zero());
        store(y + p, sum);
    }
}

// Some outputs at some positions, of some taps. Sums of earlier taps are in y unless this is the first block.
template <int OUTPUTS, int POSITIONS, int VECTORS>
LANES_INLINE void dense_block(const Region& region, int tap_begin, int tap_end, const float* const* w,
                              const std::ptrdiff_t* channel, const float* bias, const Place& at,
                              const Epilogue& epilogue) {
    V sum[OUTPUTS][POSITIONS * VECTORS];
    LANES_UNROLL(16)
    for (int k = 0; k < OUTPUTS; k++)
        LANES_UNROLL(16)
        for (int i = 0; i < POSITIONS * VECTORS; i++)
            sum[k][i] = tap_begin == 0 ? splat(bias[k])
                                       : load(at.y + channel[k] + (i / VECTORS) * at.out_step + (i % VECTORS) * WIDTH);
    const std::int32_t *offset = region.offset.data(), *weight = region.weight.data();
    const float* row[OUTPUTS];
    LANES_UNROLL(16)
    for (int k = 0; k < OUTPUTS; k++) row[k] = w[k];
    for (int tap = tap_begin; tap < tap_end; tap++) {
        const float* from = at.x + offset[tap];
        const std::size_t which = weight[tap];
        if (POSITIONS > 1) {  // what the next positions read; the taps are too irregular for the processor to guess
            __builtin_prefetch(from + POSITIONS * at.in_step);
            __builtin_prefetch(from + (POSITIONS + 1) * at.in_step);
        }
        V in[POSITIONS * VECTORS];
        LANES_UNROLL(16)
        for (int i = 0; i < POSITIONS * VECTORS; i++)
            in[i] = load(from + (i / VECTORS) * at.in_step + (i % VECTORS) * WIDTH);
        LANES_UNROLL(16)
        for (int k = 0; k < OUTPUTS; k++) {
            const V c = splat(row[k][which]);
            LANES_UNROLL(16)
            for (int i = 0; i < POSITIONS * VECTORS; i++) sum[k][i] = fma(c, in[i], sum[k][i]);
        }
    }
    const bool last = tap_end == static_cast<int>(region.offset.size());
    LANES_UNROLL(16)
    for (int k = 0; k < OUTPUTS; k++) {
        if (last) {
            finish<POSITIONS, VECTORS>(sum[k], at, epilogue, at.y + channel[k], channel[k]);
        } else {
            LANES_UNROLL(16)
            for (int i = 0; i < POSITIONS * VECTORS; i++)
                store(at.y + channel[k] + (i / VECTORS) * at.out_step + (i % VECTORS) * WIDTH, sum[k][i]);
        }
    }
}

// One output, its live taps only.
template <int POSITIONS, int VECTORS>
LANES_INLINE void sparse_block(const std::int32_t* offset, const std::int32_t* value, int taps, const float* values,
                               float bias, const Place& at, const Epilogue& epilogue) {
    V sum[POSITIONS * VECTORS];
    LANES_UNROLL(16)
    for (int i = 0; i < POSITIONS * VECTORS; i++) sum[i] = splat(bias);
    for (int tap = 0; tap < taps; tap++) {
        const float* from = at.x + offset[tap];
        const V c = splat(values[value[tap]]);
        LANES_UNROLL(16)
        for (int i = 0; i < POSITIONS * VECTORS; i++)
            sum[i] = fma(c, load(from + (i / VECTORS) * at.in_step + (i % VECTORS) * WIDTH), sum[i]);
    }
    finish<POSITIONS, VECTORS>(sum, at, epilogue, at.y, 0);
}

// The positions of a region as lines: the longer direction is the inner one.
struct Lines {
    explicit Lines(const Region& region)
        : lines(region.rows), length(region.columns), in_line(region.in_row), in_step(region.in_column),
          out_line(region.out_row), out_step(region.out_column) {
        if (lines > length) {
            std::swap(lines, length);
            std::swap(in_line, in_step);
            std::swap(out_line, out_step);
        }
    }
    int lines, length;
    std::ptrdiff_t in_line, in_step, out_line, out_step;
};

// Some lines of a region.
struct Strip {
    int begin, end;
};

// Calls `block(place, POSITIONS)` for all positions of a strip and all lanes.
template <int POSITIONS, int VECTORS, class Block>
LANES_INLINE void all_positions(const Region& region, const Strip& strip, const float* x, float* y,
                                const Epilogue& epilogue, const Block& block) {
    const Lines lines(region);
    for (int line = strip.begin; line < strip.end; line++) {
        const std::ptrdiff_t in = region.in_base + line * lines.in_line;
        const std::ptrdiff_t out = region.out_base + line * lines.out_line;
        int at = 0;
        const auto place = [&](int part) {
            const std::ptrdiff_t from_y = out + at * lines.out_step + part * WIDTH;
            return Place{x + in + at * lines.in_step + part * WIDTH, lines.in_step, y + from_y, lines.out_step,
                         epilogue.gate ? epilogue.gate + from_y : nullptr};
        };
        for (; at + POSITIONS <= lines.length; at += POSITIONS)
            for (int part = 0; part < PARTS; part += VECTORS)
                block(place(part), std::integral_constant<int, POSITIONS>());
        if (POSITIONS > 1)
            for (; at < lines.length; at++)
                for (int part = 0; part < PARTS; part += VECTORS) block(place(part), std::integral_constant<int, 1>());
    }
}

template <int OUTPUTS, int POSITIONS, int VECTORS>
LANES_NOINLINE void dense_outputs(const GatherMap& map, const Region& region, const Strip& strip, int begin,
                                  int tap_begin, int tap_end, const float* x, const float* weights, float* y, const Epilogue& epilogue) {
    const float* w[OUTPUTS];
    std::ptrdiff_t channel[OUTPUTS];
    float bias[OUTPUTS];
    for (int k = 0; k < OUTPUTS; k++) {
        w[k] = weights + (begin + k) * map.weight_row;
        channel[k] = map.place[begin + k];
        bias[k] = epilogue.bias ? epilogue.bias[map.outputs[begin + k]] : 0.f;
    }
    all_positions<POSITIONS, VECTORS>(region, strip, x, y, epilogue, [&](const Place& at, auto positions) {
        dense_block<OUTPUTS, positions.value, VECTORS>(region, tap_begin, tap_end, w, channel, bias, at, epilogue);
    });
}

void dense_strip(const GatherMap& map, const Region& region, const Strip& strip, const float* x, const float* w, float* y,
                 const Epilogue& e) {
    const int taps = static_cast<int>(region.offset.size()), outputs = static_cast<int>(map.outputs.size());
    const int block = region.rows * region.columns == 1 ? TAP_BLOCK_OF_ONE : TAP_BLOCK;
    int begin = 0;
    do {
        const int end = std::min(taps, begin + block);
        int o = 0;
        // Register blocks: 32 vectors of 16 floats, or 16 of 8.
        if constexpr (WIDTH == 16) {
            if (region.rows * region.columns > 1)
                for (; o + 6 <= outputs; o += 6) dense_outputs<6, 2, 2>(map, region, strip, o, begin, end, x, w, y, e);
            for (; o + 8 <= outputs; o += 8) dense_outputs<8, 1, 2>(map, region, strip, o, begin, end, x, w, y, e);
            for (; o + 4 <= outputs; o += 4) dense_outputs<4, 2, 2>(map, region, strip, o, begin, end, x, w, y, e);
            for (; o + 2 <= outputs; o += 2) dense_outputs<2, 4, 2>(map, region, strip, o, begin, end, x, w, y, e);
        } else {
            if (outputs % 4 != 0 || outputs >= 12)
                for (; o + 6 <= outputs; o += 6) dense_outputs<6, 1, 2>(map, region, strip, o, begin, end, x, w, y, e);
            for (; o + 4 <= outputs; o += 4) dense_outputs<4, 1, 2>(map, region, strip, o, begin, end, x, w, y, e);
        }
        for (; o < outputs; o++) dense_outputs<1, 4, 2>(map, region, strip, o, begin, end, x, w, y, e);
        begin = end;
    } while (begin < taps);
}

template <int POSITIONS>
LANES_NOINLINE void sparse_outputs(const GatherMap& map, const Region& region, const Strip& strip, const float* x, const float* values,
                                   float* y, const Epilogue& epilogue) {
    for (std::size_t k = 0; k < map.outputs.size(); k++) {
        const std::size_t begin = region.start[k];
        const int taps = static_cast<int>(region.start[k + 1] - begin);
        const std::ptrdiff_t channel = map.place[k];
        const float bias = epilogue.bias ? epilogue.bias[map.outputs[k]] : 0.f;
        Epilogue own = epilogue;
        if (own.gate) own.gate += channel;
        all_positions<POSITIONS, 2>(region, strip, x, y + channel, own, [&](const Place& at, auto positions) {
            sparse_block<positions.value, 2>(region.live_offset.data() + begin, region.live_value.data() + begin, taps,
                                             values, bias, at, own);
        });
    }
}

// Four outputs at one position.
template <int VECTORS>
LANES_INLINE void sparse_group(const GatherMap& map, const Region& region, const SparseGroup& group, bool first, bool last,
                               const float* values, const Place& at, const Epilogue& epilogue) {
    std::ptrdiff_t channel[4];
    V sum[4][VECTORS];
    LANES_UNROLL(4)
    for (int k = 0; k < 4; k++) {
        const bool there = group.outputs[k] >= 0;
        const int output = there ? map.outputs[group.outputs[k]] : 0;
        channel[k] = there ? map.place[group.outputs[k]] : 0;
        const V bias = splat(there && epilogue.bias ? epilogue.bias[output] : 0.f);
        LANES_UNROLL(4)
        for (int v = 0; v < VECTORS; v++) sum[k][v] = first || !there ? bias : load(at.y + channel[k] + v * WIDTH);
    }
    const std::int32_t *offset = region.group_offset.data() + group.begin, *value = region.group_value.data() + group.begin;
    for (int tap = 0; tap < 4 * group.length; tap += 4) {
        LANES_UNROLL(4)
        for (int k = 0; k < 4; k++) {
            const float* from = at.x + offset[tap + k];
            const V c = splat(values[value[tap + k]]);
            LANES_UNROLL(4)
            for (int v = 0; v < VECTORS; v++) sum[k][v] = fma(c, load(from + v * WIDTH), sum[k][v]);
        }
    }
    LANES_UNROLL(4)
    for (int k = 0; k < 4; k++) {
        if (group.outputs[k] < 0) continue;
        if (last) {
            finish<1, VECTORS>(sum[k], at, epilogue, at.y + channel[k], channel[k]);
        } else {
            LANES_UNROLL(4)
            for (int v = 0; v < VECTORS; v++) store(at.y + channel[k] + v * WIDTH, sum[k][v]);
        }
    }
}

LANES_NOINLINE void sparse_groups(const GatherMap& map, const Region& region, const Strip& strip, const float* x, const float* values,
                                  float* y, const Epilogue& epilogue) {
    std::size_t g = 0;
    for (std::size_t block = 0; block < region.block_end.size(); block++)
        for (; g < region.block_end[block]; g++)
            all_positions<1, 2>(region, strip, x, y, epilogue, [&](const Place& at, auto) {
                sparse_group<2>(map, region, region.groups[g], block == 0, block + 1 == region.block_end.size(), values, at,
                                epilogue);
            });
}

// Two rows of two positions, their maximum and which of them it is.
template <int VECTORS>
LANES_INLINE void finish_pooled(const V* sums, const Epilogue& epilogue, float* y, std::uint8_t* winner) {
    LANES_UNROLL(4)
    for (int v = 0; v < VECTORS; v++) {
        V best = sums[v];
        VI which = {};
        LANES_UNROLL(4)
        for (int q = 1; q < 4; q++) {
            const V sum = sums[q * VECTORS + v];
            const VI wins = ~(sum <= best) & (best == best);  // the first of equals; NaN wins and stays
            best = select(wins, sum, best);
            which = wins ? VI{} + q : which;
        }
        if (epilogue.relu) best = positive(best);
        store(y + v * WIDTH, best);
        narrow(winner + v * WIDTH, which);
    }
}

template <int OUTPUTS>
LANES_NOINLINE void dense_pooled(const GatherMap& map, int begin, const float* x, const float* weights, float* y,
                                 std::uint8_t* winner, const Epilogue& epilogue) {
    const Region& region = map.regions[0];
    const int taps = static_cast<int>(region.offset.size());
    const std::int32_t *offset = region.offset.data(), *weight = region.weight.data();
    const std::ptrdiff_t step[4] = {0, region.in_column, region.in_row, region.in_row + region.in_column};
    const float* w[OUTPUTS];
    for (int k = 0; k < OUTPUTS; k++) w[k] = weights + (begin + k) * map.weight_row;
    for (int row = 0; row + 2 <= region.rows; row += 2)
        for (int column = 0; column + 2 <= region.columns; column += 2)
            for (int part = 0; part < PARTS; part++) {
                const float* from = x + region.in_base + row * region.in_row + column * region.in_column + part * WIDTH;
                const std::ptrdiff_t to =
                    region.out_base + row / 2 * region.out_row + column / 2 * region.out_column + part * WIDTH;
                V sum[OUTPUTS][4];
                LANES_UNROLL(8)
                for (int k = 0; k < OUTPUTS; k++) {
                    const V bias = splat(epilogue.bias ? epilogue.bias[map.outputs[begin + k]] : 0.f);
                    LANES_UNROLL(4)
                    for (int q = 0; q < 4; q++) sum[k][q] = bias;
                }
                for (int tap = 0; tap < taps; tap++) {
                    const float* in = from + offset[tap];
                    const std::size_t which = weight[tap];
                    V value[4];
                    LANES_UNROLL(4)
                    for (int q = 0; q < 4; q++) value[q] = load(in + step[q]);
                    LANES_UNROLL(8)
                    for (int k = 0; k < OUTPUTS; k++) {
                        const V c = splat(w[k][which]);
                        LANES_UNROLL(4)
                        for (int q = 0; q < 4; q++) sum[k][q] = fma(c, value[q], sum[k][q]);
                    }
                }
                LANES_UNROLL(8)
                for (int k = 0; k < OUTPUTS; k++) {
                    const std::ptrdiff_t at = to + map.place[begin + k];
                    finish_pooled<1>(sum[k], epilogue, y + at, winner + at);
                }
            }
}

// Many taps: the blocks of `dense_strip` use the caches better than sums that stay in registers.
void dense_pooled_rows(const GatherMap& map, const float* x, const float* weights, float* y, std::uint8_t* winner,
                       const Epilogue& epilogue, float* rows, std::size_t rows_channel) {
    const Region& pooled = map.regions[0];
    GatherMap two;
    two.outputs = map.outputs;
    two.weight_row = map.weight_row;
    for (std::size_t k = 0; k < map.outputs.size(); k++) two.place.push_back(static_cast<std::ptrdiff_t>(k * rows_channel));
    two.regions = {pooled};
    Region& region = two.regions[0];
    region.rows = 2;
    region.columns = pooled.columns / 2 * 2;
    region.out_base = 0;
    region.out_row = static_cast<std::ptrdiff_t>(region.columns) * TILE;
    region.out_column = TILE;
    Epilogue sums = epilogue;
    sums.relu = false;
    for (int row = 0; row + 2 <= pooled.rows; row += 2) {
        gather(two, x + row * pooled.in_row, weights, rows, sums);
        for (std::size_t k = 0; k < map.outputs.size(); k++)
            for (int column = 0; column < region.columns; column += 2)
                for (int part = 0; part < PARTS; part++) {
                    const float* from = rows + k * rows_channel + column * TILE + part * WIDTH;
                    const std::ptrdiff_t to = map.place[k] + pooled.out_base + row / 2 * pooled.out_row +
                                              column / 2 * pooled.out_column + part * WIDTH;
                    V sum[4];
                    LANES_UNROLL(4)
                    for (int q = 0; q < 4; q++) sum[q] = load(from + (q / 2) * region.out_row + (q % 2) * TILE);
                    finish_pooled<1>(sum, epilogue, y + to, winner + to);
                }
    }
}

LANES_NOINLINE void sparse_pooled(const GatherMap& map, const float* x, const float* values, float* y,
                                  std::uint8_t* winner, const Epilogue& epilogue) {
    const Region& region = map.regions[0];
    const std::ptrdiff_t step[4] = {0, region.in_column, region.in_row, region.in_row + region.in_column};
    for (std::size_t k = 0; k < map.outputs.size(); k++) {
        const std::int32_t *offset = region.live_offset.data() + region.start[k],
                           *value = region.live_value.data() + region.start[k];
        const int taps = static_cast<int>(region.start[k + 1] - region.start[k]);
        const std::ptrdiff_t channel = map.place[k];
        const V bias = splat(epilogue.bias ? epilogue.bias[map.outputs[k]] : 0.f);
        for (int row = 0; row + 2 <= region.rows; row += 2)
            for (int column = 0; column + 2 <= region.columns; column += 2)
                for (int part = 0; part < PARTS; part += 2) {
                    const float* from =
                        x + region.in_base + row * region.in_row + column * region.in_column + part * WIDTH;
                    const std::ptrdiff_t to = channel + region.out_base + row / 2 * region.out_row +
                                              column / 2 * region.out_column + part * WIDTH;
                    V sum[8];
                    LANES_UNROLL(8)
                    for (int i = 0; i < 8; i++) sum[i] = bias;
                    for (int tap = 0; tap < taps; tap++) {
                        const float* in = from + offset[tap];
                        const V c = splat(values[value[tap]]);
                        LANES_UNROLL(8)
                        for (int i = 0; i < 8; i++) sum[i] = fma(c, load(in + step[i / 2] + (i % 2) * WIDTH), sum[i]);
                    }
                    finish_pooled<2>(sum, epilogue, y + to, winner + to);
                }
    }
}

}  // namespace

void gather(const GatherMap& map, const float* x, const float* weights, float* y, const Epilogue& epilogue) {
    for (const Region& region : map.regions) {
        const Lines lines(region);
        const int step = std::max(1, (map.sparse ? STRIP_POSITIONS_SPARSE : STRIP_POSITIONS) / lines.length);
        for (int line = 0; line < lines.lines; line += step) {
            const Strip strip{line, std::min(lines.lines, line + step)};
            if (!map.sparse)
                dense_strip(map, region, strip, x, weights, y, epilogue);
            else if (lines.length < FEW_POSITIONS)
                sparse_groups(map, region, strip, x, weights, y, epilogue);
            else if (WIDTH == 16 && lines.length >= 8)
                sparse_outputs<8>(map, region, strip, x, weights, y, epilogue);
            else
                sparse_outputs<4>(map, region, strip, x, weights, y, epilogue);
        }
    }
}

void gather_pooled(const GatherMap& map, const float* x, const float* weights, float* y, std::uint8_t* winner,
                   const Epilogue& epilogue, float* rows, std::size_t rows_channel) {
    if (map.sparse) return sparse_pooled(map, x, weights, y, winner, epilogue);
    if (map.regions[0].offset.size() > static_cast<std::size_t>(TAP_BLOCK))
        return dense_pooled_rows(map, x, weights, y, winner, epilogue, rows, rows_channel);
    const int outputs = static_cast<int>(map.outputs.size());
    int o = 0;
    if constexpr (WIDTH == 16) {
        if (outputs % 4 != 0)
            for (; o + 6 <= outputs; o += 6) dense_pooled<6>(map, o, x, weights, y, winner, epilogue);
        for (; o + 4 <= outputs; o += 4) dense_pooled<4>(map, o, x, weights, y, winner, epilogue);
    }
    for (; o + 2 <= outputs; o += 2) dense_pooled<2>(map, o, x, weights, y, winner, epilogue);
    for (; o < outputs; o++) dense_pooled<1>(map, o, x, weights, y, winner, epilogue);
}

}  // namespace lanes::LANES_ISA
