// Index lists of sparse layers, rebuilt only when masks change.
#pragma once

#include <algorithm>
#include <numeric>

namespace lanes::LANES_ISA {

// Below this many positions in a line the chains of one output do not fill the multiply-add units.
constexpr int FEW_POSITIONS = 4;

// Taps of a block: enough for a loop, and few enough that their inputs (128 bytes each) stay in the first cache.
constexpr int BLOCK_LIVE_TAPS = 12;
constexpr int BLOCK_TAPS = 128;

// How many blocks to cut a reduction into.
inline int block_count(std::size_t outputs, std::size_t taps, std::size_t live) {
    const std::size_t by_live = live / (std::max<std::size_t>(outputs, 1) * BLOCK_LIVE_TAPS);
    return static_cast<int>(std::clamp<std::size_t>(by_live, 1, std::max<std::size_t>(taps / BLOCK_TAPS, 1)));
}

inline void group_live(Region& region, int outputs, std::int32_t zero) {
    const std::size_t taps = region.offset.size();
    const int blocks = block_count(outputs, taps, region.live_value.size());
    // Live taps are in the order of their offsets into x.
    std::vector<std::size_t> next(region.start.begin(), region.start.end() - 1), end(outputs);
    for (int block = 0; block < blocks; block++) {
        const std::size_t last = taps * (block + 1) / blocks;
        for (int output = 0; output < outputs; output++) {
            end[output] = next[output];
            while (end[output] < region.start[output + 1] &&
                   (block + 1 == blocks || region.live_offset[end[output]] < region.offset[last]))
                end[output]++;
        }
        // Outputs of similar length share a group; it does not change any chain.
        std::vector<int> order(outputs);
        std::iota(order.begin(), order.end(), 0);
        const auto length = [&](int output) { return static_cast<int>(end[output] - next[output]); };
        std::stable_sort(order.begin(), order.end(), [&](int a, int b) { return length(a) > length(b); });
        for (int at = 0; at < outputs; at += 4) {
            SparseGroup group{{-1, -1, -1, -1}, region.group_value.size(), length(order[at])};
            for (int k = 0; k < 4 && at + k < outputs; k++) group.outputs[k] = order[at + k];
            for (int j = 0; j < group.length; j++)
                for (int k = 0; k < 4; k++) {
                    const int output = group.outputs[k];
                    const bool there = output >= 0 && j < length(output);
                    const std::size_t entry = there ? next[output] + j : 0;
                    region.group_offset.push_back(there ? region.live_offset[entry] : region.offset[0]);
                    region.group_value.push_back(there ? region.live_value[entry] : zero);
                }
            region.groups.push_back(group);
        }
        region.block_end.push_back(region.groups.size());
        next = end;
    }
}

template <class ValueOf>
void list_live(GatherMap& map, std::int32_t zero, const ValueOf& value_of) {
    const int outputs = static_cast<int>(map.outputs.size());
    for (Region& region : map.regions) {
        const int taps = static_cast<int>(region.offset.size());
        region.start.assign(1, 0);
        region.live_offset.clear();
        region.live_value.clear();
        for (int output = 0; output < outputs; output++) {
            for (int tap = 0; tap < taps; tap++) {
                const std::int32_t value = value_of(output, region.weight[tap]);
                if (value < 0) continue;
                region.live_offset.push_back(region.offset[tap]);
                region.live_value.push_back(value);
            }
            region.start.push_back(region.live_value.size());
        }
        region.groups.clear();
        region.block_end.clear();
        region.group_offset.clear();
        region.group_value.clear();
        if (std::max(region.rows, region.columns) >= FEW_POSITIONS) continue;
        group_live(region, outputs, zero);
    }
}

}  // namespace lanes::LANES_ISA
