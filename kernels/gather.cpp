#include "gather.h"

#include "groups.h"

namespace lanes::LANES_ISA {
namespace {

// Taps summed at once, so that the inputs of a block stay in the first cache from one group of outputs to the next;
// the sums wait in y between blocks. A linear layer has one position and gains nothing from short blocks.
constexpr int TAP_BLOCK = 192;
constexpr int TAP_BLOCK_OF_ONE = 1024;
// Positions computed together with a group of outputs, of two vectors each.
constexpr int GROUP_POSITIONS = WIDTH == 16 ? 2 : 1;
// Fewer positions do not repay the packing of their weights.
constexpr int PACKED_POSITIONS = 4;
// Positions that all blocks and outputs are done for before the next ones: their inputs stay in the second
// cache. A sparse layer reads all channels for a strip, a dense one those of a block.
constexpr int STRIP_POSITIONS = 32;
constexpr int STRIP_POSITIONS_SPARSE = 32;

// The positions of a region as lines: the longer direction is the inner one.
struct Lines {
    explicit Lines(const Region& region)
        : lines(region.rows), length(region.columns), in_base(region.in_base), in_line(region.in_row),
          in_step(region.in_column), out_base(region.out_base), out_line(region.out_row), out_step(region.out_column) {
        if (lines > length) {
            std::swap(lines, length);
            std::swap(in_line, in_step);
            std::swap(out_line, out_step);
        }
    }
    int lines, length;
    std::ptrdiff_t in_base, in_line, in_step, out_base, out_line, out_step;
};

// Outputs at some positions from the taps of a region.
struct Work {
    const GatherMap& map;
    const Region& region;
    Lines positions;
    const std::ptrdiff_t* place;  // by output, floats before it in y
    const float *x, *weights;
    float* y;
    const Epilogue& epilogue;
};

// Some lines of the positions.
struct Strip {
    int begin, end;
};

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
        store(y + p, finished(sums[i], epilogue.relu, at.gate ? at.gate + from_y + p : nullptr));
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

// Calls `block(place, POSITIONS)` for all positions of a strip and all lanes.
template <int POSITIONS, int VECTORS, class Block>
LANES_INLINE void all_positions(const Work& work, const Strip& strip, const Block& block) {
    const Lines lines = work.positions;  // a copy, which no store can change
    const float* const x = work.x;
    float* const y = work.y;
    const float* const gate = work.epilogue.gate;
    for (int line = strip.begin; line < strip.end; line++) {
        const std::ptrdiff_t in = lines.in_base + line * lines.in_line;
        const std::ptrdiff_t out = lines.out_base + line * lines.out_line;
        int at = 0;
        const auto place = [&](int part) {
            const std::ptrdiff_t from_y = out + at * lines.out_step + part * WIDTH;
            return Place{x + in + at * lines.in_step + part * WIDTH, lines.in_step, y + from_y, lines.out_step,
                         gate ? gate + from_y : nullptr};
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
LANES_NOINLINE void dense_outputs(const Work& work, const Strip& strip, int begin, int tap_begin, int tap_end) {
    const float* w[OUTPUTS];
    std::ptrdiff_t channel[OUTPUTS];
    float bias[OUTPUTS];
    for (int k = 0; k < OUTPUTS; k++) {
        w[k] = work.weights + (begin + k) * work.map.weight_row;
        channel[k] = work.place[begin + k];
        bias[k] = work.epilogue.bias ? work.epilogue.bias[work.map.outputs[begin + k]] : 0.f;
    }
    all_positions<POSITIONS, VECTORS>(work, strip, [&](const Place& at, auto positions) {
        dense_block<OUTPUTS, positions.value, VECTORS>(work.region, tap_begin, tap_end, w, channel, bias, at, work.epilogue);
    });
}

void dense_strip(const Work& work, const Strip& strip) {
    const int taps = static_cast<int>(work.region.offset.size()), outputs = static_cast<int>(work.map.outputs.size());
    const int block = work.region.rows * work.region.columns == 1 ? TAP_BLOCK_OF_ONE : TAP_BLOCK;
    int begin = 0;
    do {
        const int end = std::min(taps, begin + block);
        int o = 0;
        // Register blocks: 32 vectors of 16 floats, or 16 of 8.
        if constexpr (WIDTH == 16) {
            for (; o + 8 <= outputs; o += 8) dense_outputs<8, 1, 2>(work, strip, o, begin, end);
            for (; o + 4 <= outputs; o += 4) dense_outputs<4, 2, 2>(work, strip, o, begin, end);
            for (; o + 2 <= outputs; o += 2) dense_outputs<2, 4, 2>(work, strip, o, begin, end);
        } else {
            if (outputs % 4 != 0 || outputs >= 12)
                for (; o + 6 <= outputs; o += 6) dense_outputs<6, 1, 2>(work, strip, o, begin, end);
            for (; o + 4 <= outputs; o += 4) dense_outputs<4, 1, 2>(work, strip, o, begin, end);
        }
        for (; o < outputs; o++) dense_outputs<1, 4, 2>(work, strip, o, begin, end);
        begin = end;
    } while (begin < taps);
}

// The weights of a region, block of taps by block of taps, in that group by group, in that tap by tap: one stream.
const float* pack(GatherMap& map, const Region& region, const float* weights) {
    const int taps = static_cast<int>(region.offset.size());
    const Groups groups(map.outputs.size());
    const std::size_t count = static_cast<std::size_t>(taps) * groups.outputs;
    if (map.packed.size() < count) map.packed = Buffer(count);
    float* to = map.packed.data();
    for (int begin = 0; begin < taps; begin += TAP_BLOCK)
        for (int group = 0; group < groups.count; group++) {
            const float* from = weights + groups.begin(group) * map.weight_row;
            const int size = groups.size(group);
            for (int tap = begin; tap < std::min(taps, begin + TAP_BLOCK); tap++)
                for (int k = 0; k < size; k++) *to++ = from[k * map.weight_row + region.weight[tap]];
        }
    return map.packed.data();
}

// Some taps in a row.
struct Taps {
    const std::int32_t* offset;
    int count;
    bool first, last;
};

// As `dense_block`, with packed weights.
template <int OUTPUTS, int POSITIONS>
LANES_NOINLINE void packed_block(const Work& work, const Taps& taps, int begin, const float* weights, const Place& at) {
    constexpr int VECTORS = 2;
    const std::ptrdiff_t* const channel = work.place + begin;
    V sum[OUTPUTS][POSITIONS * VECTORS];
    LANES_UNROLL(16)
    for (int k = 0; k < OUTPUTS; k++) {
        const V bias = splat(work.epilogue.bias ? work.epilogue.bias[work.map.outputs[begin + k]] : 0.f);
        LANES_UNROLL(16)
        for (int i = 0; i < POSITIONS * VECTORS; i++)
            sum[k][i] = taps.first ? bias : load(at.y + channel[k] + (i / VECTORS) * at.out_step + (i % VECTORS) * WIDTH);
    }
    const float* const x = at.x;
    const std::ptrdiff_t step = at.in_step;
    const std::int32_t* const end = taps.offset + taps.count;
    for (const std::int32_t* offset = taps.offset; offset < end; offset++) {
        const float* from = x + *offset;
        V in[POSITIONS * VECTORS];
        LANES_UNROLL(16)
        for (int i = 0; i < POSITIONS * VECTORS; i++) in[i] = load(from + (i / VECTORS) * step + (i % VECTORS) * WIDTH);
        LANES_UNROLL(16)
        for (int k = 0; k < OUTPUTS; k++) {
            const V c = splat(weights[k]);
            LANES_UNROLL(16)
            for (int i = 0; i < POSITIONS * VECTORS; i++) sum[k][i] = fma(c, in[i], sum[k][i]);
        }
        weights += OUTPUTS;
    }
    LANES_UNROLL(16)
    for (int k = 0; k < OUTPUTS; k++) {
        if (taps.last) {
            finish<POSITIONS, VECTORS>(sum[k], at, work.epilogue, at.y + channel[k], channel[k]);
        } else {
            LANES_UNROLL(16)
            for (int i = 0; i < POSITIONS * VECTORS; i++)
                store(at.y + channel[k] + (i / VECTORS) * at.out_step + (i % VECTORS) * WIDTH, sum[k][i]);
        }
    }
}

template <int POSITIONS>
void packed_group(int size, const Work& work, const Taps& taps, int begin, const float* weights, const Place& at) {
    static_assert(GROUP == 6);
    switch (size) {
        case 1: return packed_block<1, POSITIONS>(work, taps, begin, weights, at);
        case 2: return packed_block<2, POSITIONS>(work, taps, begin, weights, at);
        case 3: return packed_block<3, POSITIONS>(work, taps, begin, weights, at);
        case 4: return packed_block<4, POSITIONS>(work, taps, begin, weights, at);
        case 5: return packed_block<5, POSITIONS>(work, taps, begin, weights, at);
        default: return packed_block<6, POSITIONS>(work, taps, begin, weights, at);
    }
}

// Fetches what some outputs read and write besides their inputs, a block before it is wanted: it may be in far memory,
// and its channels are too far apart for the processor to guess. With 64 channels of 32 x 32 positions that is 6 % of
// the forward pass and 11 % of the input gradient.
LANES_INLINE void fetch(const Work& work, bool gate, int begin, int size, int positions, const Place& at,
                        std::ptrdiff_t ahead) {
    for (int k = begin; k < begin + size; k++)
        for (int p = 0; p < positions; p++)
            for (int i = 0; i < 2 * WIDTH; i += 16) {
                const std::ptrdiff_t to = work.place[k] + ahead + p * at.out_step + i;
                __builtin_prefetch(at.y + to, 1);
                if (gate) __builtin_prefetch(at.gate + to);
            }
}

void packed_strip(const Work& work, const Strip& strip) {
    const int taps = static_cast<int>(work.region.offset.size());
    const Groups groups(work.map.outputs.size());
    int begin = 0;
    do {
        const int count = std::min(TAP_BLOCK, taps - begin);
        const Taps some{work.region.offset.data() + begin, count, begin == 0, begin + count == taps};
        all_positions<GROUP_POSITIONS, 2>(work, strip, [&](const Place& at, auto positions) {
            const float* weights = work.weights + static_cast<std::size_t>(begin) * groups.outputs;
            for (int group = 0; group < groups.count; group++) {
                const bool gate = at.gate && some.last;
                if (group + 1 < groups.count)
                    fetch(work, gate, groups.begin(group + 1), groups.size(group + 1), positions.value, at, 0);
                else
                    fetch(work, gate, 0, groups.size(0), positions.value, at, positions.value * at.out_step);
                packed_group<positions.value>(groups.size(group), work, some, groups.begin(group), weights, at);
                weights += static_cast<std::size_t>(groups.size(group)) * count;
            }
        });
        begin += count;
    } while (begin < taps);
}

template <int POSITIONS>
LANES_NOINLINE void sparse_outputs(const Work& work, const Strip& strip) {
    const Region& region = work.region;
    for (std::size_t k = 0; k < work.map.outputs.size(); k++) {
        const std::size_t begin = region.start[k];
        const int taps = static_cast<int>(region.start[k + 1] - begin);
        const float bias = work.epilogue.bias ? work.epilogue.bias[work.map.outputs[k]] : 0.f;
        // One output at a time: y and the gate begin at its channel.
        Epilogue epilogue = work.epilogue;
        if (epilogue.gate) epilogue.gate += work.place[k];
        const Work own{work.map, region, work.positions, nullptr, work.x, work.weights, work.y + work.place[k], epilogue};
        all_positions<POSITIONS, 2>(own, strip, [&](const Place& at, auto positions) {
            sparse_block<positions.value, 2>(region.live_offset.data() + begin, region.live_value.data() + begin, taps,
                                             own.weights, bias, at, epilogue);
        });
    }
}

// Four outputs at one position.
template <int VECTORS>
LANES_INLINE void sparse_group(const Work& work, const SparseGroup& group, bool first, bool last, const Place& at) {
    const Epilogue& epilogue = work.epilogue;
    std::ptrdiff_t channel[4];
    V sum[4][VECTORS];
    LANES_UNROLL(4)
    for (int k = 0; k < 4; k++) {
        const bool there = group.outputs[k] >= 0;
        const int output = there ? work.map.outputs[group.outputs[k]] : 0;
        channel[k] = there ? work.place[group.outputs[k]] : 0;
        const V bias = splat(there && epilogue.bias ? epilogue.bias[output] : 0.f);
        LANES_UNROLL(4)
        for (int v = 0; v < VECTORS; v++) sum[k][v] = first || !there ? bias : load(at.y + channel[k] + v * WIDTH);
    }
    const std::int32_t *offset = work.region.group_offset.data() + group.begin,
                       *value = work.region.group_value.data() + group.begin;
    for (int tap = 0; tap < 4 * group.length; tap += 4) {
        LANES_UNROLL(4)
        for (int k = 0; k < 4; k++) {
            const float* from = at.x + offset[tap + k];
            const V c = splat(work.weights[value[tap + k]]);
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

LANES_NOINLINE void sparse_groups(const Work& work, const Strip& strip) {
    const std::vector<std::size_t>& block_end = work.region.block_end;
    std::size_t g = 0;
    for (std::size_t block = 0; block < block_end.size(); block++)
        for (; g < block_end[block]; g++)
            all_positions<1, 2>(work, strip, [&](const Place& at, auto) {
                sparse_group<2>(work, work.region.groups[g], block == 0, block + 1 == block_end.size(), at);
            });
}

bool packs(const GatherMap& map, const Region& region) {
    return !map.sparse && region.rows * region.columns >= PACKED_POSITIONS;
}

void all_strips(const Work& work) {
    const Lines& lines = work.positions;
    const bool sparse = work.map.sparse, packed = packs(work.map, work.region);
    const int step = std::max(1, (sparse ? STRIP_POSITIONS_SPARSE : STRIP_POSITIONS) / lines.length);
    for (int line = 0; line < lines.lines; line += step) {
        const Strip strip{line, std::min(lines.lines, line + step)};
        if (packed)
            packed_strip(work, strip);
        else if (!sparse)
            dense_strip(work, strip);
        else if (!work.region.block_end.empty())
            sparse_groups(work, strip);
        else if (WIDTH == 16 && lines.length >= 8)
            sparse_outputs<8>(work, strip);
        else
            sparse_outputs<4>(work, strip);
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

// Many taps: blocks and strips use the caches better than sums that stay in registers.
void pooled_rows(GatherMap& map, const float* x, const float* weights, float* y, std::uint8_t* winner,
                 const Epilogue& epilogue, float* rows, std::size_t rows_channel) {
    const Region& region = map.regions[0];
    const int columns = region.columns / 2 * 2;
    std::vector<std::ptrdiff_t> place;
    for (std::size_t k = 0; k < map.outputs.size(); k++) place.push_back(static_cast<std::ptrdiff_t>(k * rows_channel));
    Epilogue sums = epilogue;
    sums.relu = false;
    Work work{map, region, Lines(region), place.data(), x, packs(map, region) ? pack(map, region, weights) : weights, rows, sums};
    Region two{};
    two.rows = 2;
    two.columns = columns;
    two.in_row = region.in_row;
    two.in_column = region.in_column;
    two.out_row = static_cast<std::ptrdiff_t>(columns) * TILE;
    two.out_column = TILE;
    for (int row = 0; row + 2 <= region.rows; row += 2) {
        two.in_base = region.in_base + row * region.in_row;
        work.positions = Lines(two);
        all_strips(work);
        for (std::size_t k = 0; k < map.outputs.size(); k++)
            for (int column = 0; column < columns; column += 2)
                for (int part = 0; part < PARTS; part++) {
                    const float* from = rows + place[k] + column * TILE + part * WIDTH;
                    const std::ptrdiff_t to = map.place[k] + region.out_base + row / 2 * region.out_row +
                                              column / 2 * region.out_column + part * WIDTH;
                    V sum[4];
                    LANES_UNROLL(4)
                    for (int q = 0; q < 4; q++) sum[q] = load(from + (q / 2) * two.out_row + (q % 2) * TILE);
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

void gather(GatherMap& map, const float* x, const float* weights, float* y, const Epilogue& epilogue) {
    for (const Region& region : map.regions)
        all_strips(Work{map, region, Lines(region), map.place.data(), x,
                        packs(map, region) ? pack(map, region, weights) : weights, y, epilogue});
}

void gather_pooled(GatherMap& map, const float* x, const float* weights, float* y, std::uint8_t* winner,
                   const Epilogue& epilogue, float* rows, std::size_t rows_channel) {
    if (map.regions[0].offset.size() > static_cast<std::size_t>(TAP_BLOCK))
        return pooled_rows(map, x, weights, y, winner, epilogue, rows, rows_channel);
    if (map.sparse) return sparse_pooled(map, x, weights, y, winner, epilogue);
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
