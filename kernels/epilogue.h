// What happens to sums before they are stored, in registers.
#pragma once

#include "simd.h"

namespace lanes::LANES_ISA {

struct Epilogue {
    const float* bias = nullptr;   // by channel
    bool relu = false;
    const float* gate = nullptr;   // in the layout of y: the result is zero where this is not positive
};

// A sum as it is stored; `gate` is null or points to its place there.
LANES_INLINE V finished(V sum, bool relu, const float* gate) {
    if (relu) sum = positive(sum);
    return gate ? select(load(gate) > zero(), sum, zero()) : sum;
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

}  // namespace lanes::LANES_ISA
