// Memory for vectors: aligned, zeroed, owned.
#pragma once

#include <sys/mman.h>

#include <cstdlib>
#include <cstring>
#include <memory>
#include <new>

#include "simd.h"

namespace lanes::LANES_ISA {

class Buffer {
  public:
    Buffer() = default;
    explicit Buffer(std::size_t floats) : size_(floats) {
        // One vector more: kernels may read, never write, up to a vector beyond the last float.
        std::size_t bytes = (floats * sizeof(float) + 2 * 64) / 64 * 64;
        const bool large = bytes >= LARGE;
        if (large) bytes = (bytes + HUGE_PAGE - 1) / HUGE_PAGE * HUGE_PAGE;
        data_.reset(static_cast<float*>(std::aligned_alloc(large ? HUGE_PAGE : 64, bytes)));
        if (!data_) throw std::bad_alloc();
#if defined(MADV_HUGEPAGE)
        // Kernels go through many rows at once, and each is a page of its own otherwise.
        if (large) madvise(data_.get(), bytes, MADV_HUGEPAGE);
#endif
        std::memset(data_.get(), 0, bytes);
    }
    float* data() { return data_.get(); }
    const float* data() const { return data_.get(); }
    std::size_t size() const { return size_; }
    bool empty() const { return size_ == 0; }
    void clear() {
        if (data_) std::memset(data_.get(), 0, size_ * sizeof(float));
    }
    float& operator[](std::size_t i) { return data_.get()[i]; }
    float operator[](std::size_t i) const { return data_.get()[i]; }

  private:
    static constexpr std::size_t HUGE_PAGE = std::size_t{2} << 20, LARGE = HUGE_PAGE / 4;
    struct Free {
        void operator()(float* p) const { std::free(p); }
    };
    std::unique_ptr<float, Free> data_;
    std::size_t size_ = 0;
};

}  // namespace lanes::LANES_ISA
