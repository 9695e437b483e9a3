// Outputs that are computed together.
#pragma once

#include <cstddef>

#include "simd.h"

namespace lanes::LANES_ISA {

// With four vectors, or two where registers are few, six outputs fill the registers.
constexpr int GROUP = 6;

// Groups of nearly equal size: a small last one would not fill the registers.
struct Groups {
    explicit Groups(std::size_t size) : outputs(static_cast<int>(size)), count((outputs + GROUP - 1) / GROUP) {}
    int begin(int group) const { return static_cast<int>(static_cast<std::ptrdiff_t>(outputs) * group / count); }
    int size(int group) const { return begin(group + 1) - begin(group); }
    int outputs, count;
};

}  // namespace lanes::LANES_ISA
