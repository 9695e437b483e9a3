// Tiles, and the sixteen numbers that they are turned into.
#pragma once

#include "winograd.h"

namespace lanes::LANES_ISA {

constexpr int NUMBERS = 16;
// Floats between parts of the scratch memory, so that they do not lie a power of two apart.
constexpr std::ptrdiff_t GAP = 16;
// What is outside of a map.
alignas(64) constexpr float NOTHING[TILE] = {};

// The first output of a tile.
struct Corner {
    int row, column;
};

struct Tiles {
    explicit Tiles(const Plane& out) : down((out.height + 1) / 2), across((out.width + 1) / 2), count(down * across) {}
    Corner corner(int tile) const { return {2 * (tile / across), 2 * (tile % across)}; }
    int down, across, count;
};

// B' of four vectors.
LANES_INLINE void turn_inputs(V a, V b, V c, V d, V* to, int step) {
    to[0] = a - c;
    to[step] = b + c;
    to[2 * step] = c - b;
    to[3 * step] = b - d;
}

// B' x B: the numbers of a tile of inputs, `floats` apart.
LANES_INLINE void turn_tile(const V* x, float* to, std::ptrdiff_t floats) {
    V half[16], all[16];
    LANES_UNROLL(4)
    for (int j = 0; j < 4; j++) turn_inputs(x[j], x[4 + j], x[8 + j], x[12 + j], half + j, 4);
    LANES_UNROLL(4)
    for (int i = 0; i < 4; i++) turn_inputs(half[4 * i], half[4 * i + 1], half[4 * i + 2], half[4 * i + 3], all + 4 * i, 1);
    LANES_UNROLL(16)
    for (int n = 0; n < NUMBERS; n++) store(to + n * floats, all[n]);
}

}  // namespace lanes::LANES_ISA
