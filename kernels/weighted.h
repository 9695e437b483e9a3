// What linear and convolution layers share: weights, masks, the choice of dense or sparse, gradients and
// the optimizer's state.
//
// A layer is a matrix: a row for each output, a group of columns for each input (one column for a linear
// layer, one for each tap of the kernel for a convolution). Between steps of training the numbers live in a
// working form: the live rows and groups as a smaller matrix, or the live weights as a list.
#pragma once

#include "gather.h"
#include "op.h"
#include "update.h"

namespace lanes::LANES_ISA {

enum class Kernels { automatic, dense, sparse };

class Weighted : public Op {
  public:
    Weighted(Value& in, Value& out, int rows, int groups, int taps, bool has_bias, bool relu, double sparse_below);
    Weighted* weighted() override { return this; }

    int rows() const { return rows_; }
    int groups() const { return groups_; }
    int taps() const { return taps_; }
    int columns() const { return groups_ * taps_; }
    // Of the weights, as torch has them.
    virtual std::vector<std::size_t> shape() const {
        return {static_cast<std::size_t>(rows_), static_cast<std::size_t>(groups_)};
    }
    bool has_bias() const { return has_bias_; }
    bool sparse() const { return sparse_; }

    // All of them in the order of rows and columns; `bias`: one a row. `which` counts: 0 the values, 1 and 2
    // the slots of the optimizer, 3 the gradients.
    enum Which { VALUE = 0, SLOT = 1, GRADIENT = 3 };
    void read(int which, float* weights);
    void write(int which, const float* weights);
    float* bias(int which) { return bias_[which].data(); }
    void set_mask(const std::uint8_t* kept);  // null: everything
    // Frees the optimizer's state and makes room for that of another rule.
    void set_rule(const Rule& rule);

    // Three steps choose the working form anew: the numbers are taken out of the old one, the outputs that
    // are needed tell which weights are live, and the new one is filled.
    void rest();
    void mark_needed() override;
    void arrange(Kernels kernels);
    // Applies a step to everything that `backward` has not updated already; for weights that the tiles of
    // this step gave gradients to.
    void update(const Update& update);
    double work() const override;

  protected:
    // Called by `arrange`, with the live rows and groups known: the maps of `gather`.
    virtual void make_maps() = 0;
    // Where the live weights of a sparse layer are: index by row and column, or -1.
    std::int32_t live_index(int row, int column) const {
        return index_[static_cast<std::size_t>(row) * columns() + column];
    }
    // Adds up each output's gradient over positions and lanes.
    void bias_gradient(const Pass& pass);

    const int rows_, groups_, taps_;
    const bool has_bias_, relu_;
    const double sparse_below_;

    // Working form. Dense: `live_rows` x `stride` (a multiple of 16, at least live groups x taps). Sparse:
    // the live weights row by row, then zeros.
    bool sparse_ = false;
    std::vector<std::int32_t> live_rows_, live_groups_;
    std::size_t stride_ = 0, count_ = 0;
    Buffer working_[4];
    Buffer kept_;  // dense: bits of the mask, all ones or zero; empty if nothing is pruned
    // Sparse: by live row the first live weight; by live weight its column.
    std::vector<std::int32_t> row_start_, column_;
    Buffer bias_[4];
    GatherMap forward_, backward_;
    bool updated_in_backward_ = false;

  private:
    std::size_t padded_rows() const { return (rows_ + CLASSES - 1) / CLASSES * CLASSES; }
    // Calls `visit(place in the working form, place in the order of rows and columns)`.
    template <class Visit>
    void for_each(const Visit& visit) const;
    void collect(int which);
    void spread(int which);

    std::vector<float> canonical_[4];
    std::vector<std::uint8_t> mask_;  // empty: everything is kept
    std::vector<std::uint8_t> live_;  // mask without the weights of outputs that nothing depends on
    std::vector<std::int32_t> index_;
    int slots_ = 0;
    bool arranged_ = false;
};

}  // namespace lanes::LANES_ISA
