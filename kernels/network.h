// A network: values, the operations between them, and steps of training.
#pragma once

#include <atomic>
#include <functional>

#include "op.h"
#include "weighted.h"

namespace lanes::LANES_ISA {

// Images as bytes and their labels; borrowed.
struct Examples {
    const std::uint8_t* images;
    const std::uint8_t* labels;
    std::size_t count;
};

// What is trained on instead of an image: a window of its size so many rows down and columns right, with zeros
// where that leaves the image, and then mirrored left to right or not.
struct View {
    std::int32_t down, right, mirrored;
};

using Interrupted = std::function<bool()>;

class Network {
  public:
    // Throws std::invalid_argument for operations that do not exist or do not fit.
    Network(int channels, int height, int width, std::vector<OpSpec> specs);

    int outputs() const { return values_.back()->shape.units(); }
    std::size_t image_bytes() const { return static_cast<std::size_t>(values_.front()->shape.units()); }
    Shape input() const { return values_.front()->shape; }
    std::size_t size() const { return ops_.size(); }
    bool has_layer(int op) const { return ops_[op]->weighted() != nullptr; }
    // The layer with weights at a place, or an error.
    Weighted& layer(int op);

    void set_input(const float* scale, const float* shift);
    // By operation; null keeps everything. Resets the optimizer.
    void set_mask(int op, const std::uint8_t* kept);
    void set_kernels(Kernels kernels);
    void set_rule(const Rule& rule);
    const Rule& rule() const { return rule_; }
    // Chooses working forms after a change of masks or rule.
    void prepare();

    struct Trained {
        std::size_t steps;
        int failed_op;  // or -1
    };
    // Takes steps on consecutive batches of `order` until `rates` or, after a step, the time is used up. `views`
    // has one for each entry of `order`, or is null: the images as they are.
    Trained train(const Examples& examples, const std::int64_t* order, const View* views, std::size_t count, std::size_t batch,
                  std::uint64_t first_step, const double* rates, std::size_t steps, const std::uint64_t* seeds,
                  double slice_seconds, const Interrupted& interrupted);
    // Logits of `count` examples, [example][output]; false if interrupted.
    bool logits(const Examples& examples, const std::int64_t* indices, std::size_t count, float* found,
                const Interrupted& interrupted);
    // Predictions (the first of the largest logits) and the summed cross-entropy.
    bool evaluate(const Examples& examples, const std::int64_t* indices, std::size_t count, std::int64_t* predictions,
                  double* loss_sum, const Interrupted& interrupted);
    // Gradients of the mean cross-entropy, to be read from the layers; the operation whose output is not finite
    // or -1.
    int gradients(const Examples& examples, const std::int64_t* indices, std::size_t count, std::uint64_t seed);

  private:
    class Watch;
    struct Given_up {};

    void load_tile(const Examples& examples, const std::int64_t* indices, const View* views, int count, bool rows);
    int forward(const Pass& pass, int count, Watch* watch);
    void backward(const Pass& pass, Watch* watch);
    void loss_gradient(const Examples& examples, const std::int64_t* indices, int count, std::size_t batch);
    int first_not_finite(int count) const;
    // Gradients of a batch; the failed operation or -1. `update` is handed on in the last tile.
    int batch_gradients(const Examples& examples, const std::int64_t* indices, const View* views, std::size_t count,
                        std::uint64_t seed, const Update* update, Watch* watch);
    bool logits(const Examples& examples, const std::int64_t* indices, std::size_t count, float* found, Watch* watch);
    double step_work(std::size_t batch) const;

    std::vector<std::unique_ptr<Value>> values_;
    std::vector<std::unique_ptr<Op>> ops_;
    std::vector<Weighted*> layers_;
    Buffer scale_, shift_;  // by unit of the image
    std::vector<std::uint8_t> viewed_;  // the views of a tile, once there are any
    Rule rule_;
    Kernels kernels_ = Kernels::automatic;
    bool arranged_ = false;
};

}  // namespace lanes::LANES_ISA
