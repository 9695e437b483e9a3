// The optimizers, as what one step does to one weight. Weights, gradients and states of pruned weights are
// zero and every rule maps zeros to zero.
#pragma once

#include <string>

#include "simd.h"

namespace lanes::LANES_ISA {

struct Rule {
    enum class Kind { sgd, adam } kind = Kind::sgd;
    double momentum = 0, weight_decay = 0, beta1 = 0.9, beta2 = 0.999, eps = 1e-8;
    bool nesterov = false;

    // How many numbers it keeps for each weight.
    int slots() const { return kind == Kind::adam ? 2 : momentum != 0 ? 1 : 0; }
};

// The rule with the learning rate and bias corrections of one step.
class Update {
  public:
    Update(const Rule& rule, double lr, std::uint64_t step)
        : rule_(rule), slots_(rule.slots()), minus_lr_(static_cast<float>(-lr)),
          momentum_(static_cast<float>(rule.momentum)), decay_(static_cast<float>(rule.weight_decay)),
          new_mean_(static_cast<float>(1.0 - rule.beta1)), old_square_(static_cast<float>(rule.beta2)),
          new_square_(static_cast<float>(1.0 - rule.beta2)), eps_(static_cast<float>(rule.eps)) {
        if (rule.kind == Rule::Kind::adam) {
            minus_lr_ = static_cast<float>(-lr / (1.0 - power(rule.beta1, step + 1)));
            root_factor_ = static_cast<float>(1.0 / root_of(1.0 - power(rule.beta2, step + 1)));
        }
    }
    int slots() const { return slots_; }
    // weight + minus_lr * gradient, and nothing else.
    bool plain() const { return slots_ == 0 && decay_ == 0.f; }
    float minus_lr() const { return minus_lr_; }
    // Whether a weight whose gradient and state are zero stays where it is.
    static bool leaves_idle_weights(const Rule& rule) { return rule.weight_decay == 0; }

    // The new weight. `first` and `second` are the rule's slots, unused where it has fewer.
    LANES_INLINE V apply(V weight, V gradient, V& first, V& second) const {
        if (decay_ != 0.f) gradient = fma(splat(decay_), weight, gradient);
        if (slots_ == 2) {
            first = fma(splat(new_mean_), gradient - first, first);
            second = fma(splat(new_square_) * gradient, gradient, splat(old_square_) * second);
            const V size = fma(root(second), splat(root_factor_), splat(eps_));
            return fma(splat(minus_lr_), first / size, weight);
        }
        if (slots_ == 1) {
            first = fma(splat(momentum_), first, gradient);
            gradient = rule_.nesterov ? fma(splat(momentum_), first, gradient) : first;
        }
        return fma(splat(minus_lr_), gradient, weight);
    }

  private:
    // Not the C library's: its last bit is not the same everywhere.
    static double power(double base, std::uint64_t exponent) {
        double found = 1.0;
        for (; exponent; exponent >>= 1, base *= base)
            if (exponent & 1) found *= base;
        return found;
    }
    static double root_of(double x) { return _mm_cvtsd_f64(_mm_sqrt_sd(_mm_setzero_pd(), _mm_set_sd(x))); }

    const Rule& rule_;
    int slots_;
    float minus_lr_, momentum_, decay_, new_mean_, old_square_, new_square_, eps_, root_factor_ = 1.f;
};

}  // namespace lanes::LANES_ISA
