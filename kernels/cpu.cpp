// What this processor can run. Compiled for the oldest processor of its kind.
#include <nanobind/nanobind.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <string>
#include <vector>

NB_MODULE(_processor, m) {
    // Best first. The names of the levels are those of the x86-64 ABI.
    m.def("instruction_sets", [] {
        std::vector<std::string> found;
#if defined(__x86_64__)
        __builtin_cpu_init();
        const bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
                          __builtin_cpu_supports("bmi") && __builtin_cpu_supports("bmi2");
        const bool avx512 = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                            __builtin_cpu_supports("avx512cd") && __builtin_cpu_supports("avx512dq") &&
                            __builtin_cpu_supports("avx512vl");
        if (avx2 && avx512) found.push_back("avx512");
        if (avx2) found.push_back("avx2");
#endif
        return found;
    });
}
