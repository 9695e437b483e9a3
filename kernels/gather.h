// The one kernel behind linear and convolution layers, forward and for the input gradient:
//
//     y[output][position] = sum over taps of weight[output][tap] * x[position's base + tap's offset]
//
// A region is a rectangle of output positions that have the same taps, so nothing is padded and nothing is
// tested inside a loop. Every output of every lane is one chain of multiply-adds in the order of the taps,
// whatever the blocking, the width or the choice of dense or sparse: that is why their bits are equal.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "buffer.h"
#include "epilogue.h"

namespace lanes::LANES_ISA {

// Taps of up to four outputs side by side, so that several chains run at once. Short ones are padded with a
// weight that is zero.
struct SparseGroup {
    int outputs[4];
    std::size_t begin;
    int length;
};

struct Region {
    int rows, columns;
    // Floats from the start of x and y to the first position, and from one position to the next.
    std::ptrdiff_t in_base, in_row, in_column;
    std::ptrdiff_t out_base, out_row, out_column;
    // By tap: floats into x, index of the weight behind that of the output's row.
    std::vector<std::int32_t> offset, weight;
    // Sparse: by output the live taps, as offset and index of the value.
    std::vector<std::size_t> start;
    std::vector<std::int32_t> live_offset, live_value;
    // Sparse with few positions: the same in groups of four outputs, block of taps by block of taps, so that
    // the inputs of a block stay in the first cache. `block_end`: groups up to the end of each block.
    std::vector<SparseGroup> groups;
    std::vector<std::size_t> block_end;
    std::vector<std::int32_t> group_offset, group_value;
};

struct GatherMap {
    std::vector<Region> regions;
    // Which channel of y each output is, and the floats before it in y.
    std::vector<std::int32_t> outputs;
    std::vector<std::ptrdiff_t> place;
    // Dense: floats between the weights of one output and the next.
    std::size_t weight_row = 0;
    bool sparse = false;
    // Dense: the weights of one region in the order in which they are read, made by each call.
    Buffer packed;
};

void gather(GatherMap& map, const float* x, const float* weights, float* y, const Epilogue& epilogue);

// As `gather` for a map with one region, then a max-pool of 2x2 positions. `winner` gets the number of the
// position (0 to 3, the first of equals), one byte a lane, in the layout of the pooled y. Sums of many taps
// are made two rows at a time in `rows`, which holds `rows_channel` floats for each output.
void gather_pooled(GatherMap& map, const float* x, const float* weights, float* y, std::uint8_t* winner,
                   const Epilogue& epilogue, float* rows, std::size_t rows_channel);

// Fills the sparse lists of a map. `value_of(output, tap)` is the index of the live weight or -1; `zero`
// the index of a value that is always zero.
template <class ValueOf>
void list_live(GatherMap& map, std::int32_t zero, const ValueOf& value_of);

}  // namespace lanes::LANES_ISA

#include "gather_lists.h"
