// The Python module: checks what comes in, lets other threads run meanwhile.
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/map.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/pair.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/tuple.h>
#include <nanobind/stl/vector.h>

#include <algorithm>
#include <cmath>
#include <limits>


#include "network.h"

namespace nb = nanobind;
using namespace nb::literals;

namespace lanes::LANES_ISA {
namespace {

template <class T>
using In = nb::ndarray<const T, nb::numpy, nb::c_contig, nb::device::cpu>;
template <class T>
using Vector = nb::ndarray<const T, nb::numpy, nb::ndim<1>, nb::c_contig, nb::device::cpu>;
using Images = nb::ndarray<const std::uint8_t, nb::numpy, nb::ndim<4>, nb::c_contig, nb::device::cpu>;
using Views = nb::ndarray<const std::int32_t, nb::numpy, nb::shape<-1, 3>, nb::c_contig, nb::device::cpu>;
using Floats = nb::ndarray<nb::numpy, float, nb::c_contig>;
using Spec = std::tuple<std::string, std::vector<int>, std::map<std::string, double>>;

template <class T>
T* owned(std::size_t size, nb::capsule* owner) {
    T* data = new T[size ? size : 1]();
    *owner = nb::capsule(data, [](void* p) noexcept { delete[] static_cast<T*>(p); });
    return data;
}

// A view of bytes may start anywhere.
template <class Array>
void check_aligned(const Array& array, const char* what) {
    using T = std::remove_pointer_t<decltype(array.data())>;
    if (reinterpret_cast<std::uintptr_t>(array.data()) % alignof(T) != 0)
        throw nb::value_error((std::string(what) + ": the array is not aligned; make a copy of it").c_str());
}

void require(bool holds, const std::string& message) {
    if (!holds) throw nb::value_error(message.c_str());
}

class Bound {
  public:
    Bound(std::tuple<int, int, int> shape, const std::vector<Spec>& ops)
        : network_(std::get<0>(shape), std::get<1>(shape), std::get<2>(shape), specs(ops)) {}

    void set_input(const Vector<float>& scale, const Vector<float>& shift) {
        const Use use(*this);
        const std::size_t channels = network_.input().channels;
        check_aligned(scale, "scale");
        check_aligned(shift, "shift");
        require(scale.size() == channels && shift.size() == channels,
                "scale and shift: expected one number for each of " + std::to_string(channels) + " channels");
        network_.set_input(scale.data(), shift.data());
    }

    void set_weight(int op, const In<float>& weight) {
        const Use use(*this);
        write(op, Weighted::VALUE, weight);
    }
    Floats weight(int op) {
        const Use use(*this);
        return read(op, Weighted::VALUE);
    }
    void set_bias(int op, const In<float>& bias) {
        const Use use(*this);
        write_bias(op, Weighted::VALUE, bias);
    }
    Floats bias(int op) {
        const Use use(*this);
        return read_bias(op, Weighted::VALUE);
    }

    void set_masks(const std::map<int, In<bool>>& masks, const std::string& kernels) {
        const Use use(*this);
        const std::map<std::string, Kernels> known = {
            {"auto", Kernels::automatic}, {"dense", Kernels::dense}, {"sparse", Kernels::sparse}};
        const auto chosen = known.find(kernels);
        require(chosen != known.end(), "kernels: expected 'auto', 'dense' or 'sparse', got '" + kernels + "'");
        for (const auto& [op, mask] : masks) check_size(op, mask, "mask");
        for (int op = 0; op < static_cast<int>(network_.size()); op++) {
            const auto found = masks.find(op);
            if (found != masks.end())
                network_.set_mask(op, reinterpret_cast<const std::uint8_t*>(found->second.data()));
            else if (network_.has_layer(op))
                network_.set_mask(op, nullptr);
        }
        network_.set_kernels(chosen->second);
    }

    std::map<int, std::string> kernels() {
        const Use use(*this);
        network_.prepare();
        std::map<int, std::string> found;
        for (int op = 0; op < static_cast<int>(network_.size()); op++)
            if (network_.has_layer(op)) found[op] = network_.layer(op).sparse() ? "sparse" : "dense";
        return found;
    }

    void set_optimizer(const std::string& kind, const std::map<std::string, double>& given) {
        const Use use(*this);
        Rule rule;
        const auto number = [&](const char* name) {
            const auto found = given.find(name);
            require(found != given.end(), kind + ": no value for '" + name + "'");
            require(std::isfinite(found->second) && found->second >= 0,
                    kind + ": " + name + " is " + std::to_string(found->second) + ", expected 0 or more");
            return found->second;
        };
        rule.weight_decay = number("weight_decay");
        if (kind == "sgd") {
            rule.momentum = number("momentum");
            rule.nesterov = number("nesterov") != 0;
        } else if (kind == "adam") {
            rule.kind = Rule::Kind::adam;
            rule.beta1 = number("beta1");
            rule.beta2 = number("beta2");
            rule.eps = number("eps");
            require(rule.beta1 < 1 && rule.beta2 < 1, "adam: beta1 and beta2 must be below 1");
            // Of a weight without a gradient the step is 0 / eps.
            require(static_cast<float>(rule.eps) >= std::numeric_limits<float>::min(),
                    "adam: eps is " + std::to_string(rule.eps) + ", which is zero in float32");
        } else {
            require(false, "optimizer: expected 'sgd' or 'adam', got '" + kind + "'");
        }
        network_.set_rule(rule);
    }

    int slots() const { return network_.rule().slots(); }

    Floats state(int op, const std::string& which, int slot) {
        const Use use(*this);
        check_slot(which, slot);
        return which == "weight" ? read(op, Weighted::SLOT + slot) : read_bias(op, Weighted::SLOT + slot);
    }

    void set_state(int op, const std::string& which, int slot, const In<float>& values) {
        const Use use(*this);
        check_slot(which, slot);
        if (which == "weight") return write(op, Weighted::SLOT + slot, values);
        write_bias(op, Weighted::SLOT + slot, values);
    }

    std::pair<std::size_t, int> train(const Images& images, const Vector<std::uint8_t>& labels,
                                      const Vector<std::int64_t>& order, std::int64_t batch, std::uint64_t first_step,
                                      const Vector<double>& rates, const Vector<std::uint64_t>& seeds,
                                      double slice_seconds, const nb::callable& interrupted,
                                      const std::optional<Views>& views) {
        const Use use(*this);
        const Examples examples = check_examples(images, labels, order);
        require(order.size() > 0, "order: there is no example");
        require(batch > 0 && batch <= 1 << 24, "batch_size: expected 1 to 16777216, got " + std::to_string(batch));
        require(seeds.size() == 0 || seeds.size() >= rates.size(), "seeds: expected one for each step, or none");
        check_aligned(rates, "rates");
        check_aligned(seeds, "seeds");
        for (std::size_t i = 0; i < rates.size(); i++)
            if (!std::isfinite(rates.data()[i])) require(false, "rates: step " + std::to_string(i) + " is not finite");
        const View* seen = views ? check_views(*views, order.size()) : nullptr;
        const Interrupted ask = asked(interrupted);
        const nb::gil_scoped_release release;
        const auto done = network_.train(examples, order.data(), seen, order.size(), static_cast<std::size_t>(batch),
                                         first_step, rates.data(), rates.size(), seeds.size() ? seeds.data() : nullptr,
                                         slice_seconds, ask);
        return {done.steps, done.failed_op};
    }

    nb::object evaluate(const Images& images, const Vector<std::uint8_t>& labels, const Vector<std::int64_t>& indices,
                        const nb::callable& interrupted) {
        const Use use(*this);
        const Examples examples = check_examples(images, labels, indices);
        nb::capsule owner;
        auto* predictions = owned<std::int64_t>(indices.size(), &owner);
        double loss_sum = 0;
        bool whole = false;
        const Interrupted ask = asked(interrupted);
        {
            const nb::gil_scoped_release release;
            whole = network_.evaluate(examples, indices.data(), indices.size(), predictions, &loss_sum, ask);
        }
        if (!whole) return nb::none();
        const nb::ndarray<nb::numpy, std::int64_t, nb::c_contig> found(predictions, {indices.size()}, owner);
        return nb::make_tuple(found, loss_sum);
    }

    Floats logits(const Images& images, const Vector<std::int64_t>& indices) {
        const Use use(*this);
        const Examples examples = check_images(images, indices);
        const std::size_t outputs = network_.outputs();
        nb::capsule owner;
        auto* found = owned<float>(indices.size() * outputs, &owner);
        {
            const nb::gil_scoped_release release;
            network_.logits(examples, indices.data(), indices.size(), found, [] { return false; });
        }
        return Floats(found, {indices.size(), outputs}, owner);
    }

    nb::dict gradients(const Images& images, const Vector<std::uint8_t>& labels, const Vector<std::int64_t>& indices,
                       std::uint64_t seed) {
        const Use use(*this);
        const Examples examples = check_examples(images, labels, indices);
        require(indices.size() > 0, "indices: there is no example");
        int failed = -1;
        {
            const nb::gil_scoped_release release;
            failed = network_.gradients(examples, indices.data(), indices.size(), seed);
        }
        require(failed < 0, "the output of operation " + std::to_string(failed) + " is not finite");
        nb::dict found;
        for (int op = 0; op < static_cast<int>(network_.size()); op++) {
            if (!network_.has_layer(op)) continue;
            nb::object bias = nb::none();
            if (network_.layer(op).has_bias()) bias = nb::cast(read_bias(op, Weighted::GRADIENT));
            found[nb::int_(op)] = nb::make_tuple(read(op, Weighted::GRADIENT), bias);
        }
        return found;
    }

  private:
    // One caller at a time, who computes with the default rounding: another library may have told the thread to
    // take tiny numbers for zero.
    class Use {
      public:
        explicit Use(Bound& bound) : bound_(bound), control_(_mm_getcsr()) {
            if (bound_.used_.exchange(true)) throw std::runtime_error("another thread is using this network");
            _mm_setcsr(0x1f80);
        }
        ~Use() {
            _mm_setcsr(control_);
            bound_.used_ = false;
        }

      private:
        Bound& bound_;
        const unsigned control_;
    };

    static std::vector<OpSpec> specs(const std::vector<Spec>& ops) {
        std::vector<OpSpec> found;
        for (const auto& [kind, inputs, attributes] : ops) found.push_back({kind, inputs, attributes, 0});
        return found;
    }

    static Interrupted asked(const nb::callable& interrupted) {
        return [interrupted] {
            const nb::gil_scoped_acquire acquire;
            return nb::cast<bool>(interrupted());
        };
    }

    static std::string text(const std::vector<std::size_t>& shape) {
        std::string found;
        for (const std::size_t size : shape) found += (found.empty() ? "(" : ", ") + std::to_string(size);
        return found.empty() ? "()" : found + ")";
    }

    template <class Array>
    void check_size(int op, const Array& array, const std::string& what) {
        std::vector<std::size_t> given;
        for (std::size_t i = 0; i < array.ndim(); i++) given.push_back(array.shape(i));
        const std::vector<std::size_t> expected = network_.layer(op).shape();
        require(given == expected, what + " of operation " + std::to_string(op) + ": expected the shape " + text(expected) +
                                       ", got " + text(given));
    }

    void check_slot(const std::string& which, int slot) {
        require(which == "weight" || which == "bias", "expected 'weight' or 'bias', got '" + which + "'");
        require(slot >= 0 && slot < slots(), "slot " + std::to_string(slot) + ": the optimizer has " + std::to_string(slots()));
    }

    Floats read(int op, int which) {
        Weighted& layer = network_.layer(op);
        nb::capsule owner;
        auto* found = owned<float>(static_cast<std::size_t>(layer.rows()) * layer.columns(), &owner);
        layer.read(which, found);
        const std::vector<std::size_t> shape = layer.shape();
        return Floats(found, shape.size(), shape.data(), owner);
    }

    void write(int op, int which, const In<float>& values) {
        check_size(op, values, "weights");
        check_aligned(values, "weights");
        network_.layer(op).write(which, values.data());
    }

    Floats read_bias(int op, int which) {
        Weighted& layer = network_.layer(op);
        require(layer.has_bias(), "operation " + std::to_string(op) + " has no bias");
        nb::capsule owner;
        auto* found = owned<float>(layer.rows(), &owner);
        std::copy_n(layer.bias(which), layer.rows(), found);
        return Floats(found, {static_cast<std::size_t>(layer.rows())}, owner);
    }

    void write_bias(int op, int which, const In<float>& values) {
        Weighted& layer = network_.layer(op);
        require(layer.has_bias(), "operation " + std::to_string(op) + " has no bias");
        check_aligned(values, "bias");
        require(values.ndim() == 1 && values.size() == static_cast<std::size_t>(layer.rows()),
                "bias of operation " + std::to_string(op) + ": expected " + std::to_string(layer.rows()) + " values, got " +
                    std::to_string(values.size()));
        std::copy_n(values.data(), layer.rows(), layer.bias(which));
    }

    Examples check_images(const Images& images, const Vector<std::int64_t>& indices) {
        const Shape shape = network_.input();
        require(images.shape(1) == static_cast<std::size_t>(shape.channels) &&
                    images.shape(2) == static_cast<std::size_t>(shape.height) &&
                    images.shape(3) == static_cast<std::size_t>(shape.width),
                "images: expected (n, " + std::to_string(shape.channels) + ", " + std::to_string(shape.height) + ", " +
                    std::to_string(shape.width) + ")");
        const auto count = static_cast<std::int64_t>(images.shape(0));
        check_aligned(indices, "indices");
        for (std::size_t i = 0; i < indices.size(); i++) {
            const std::int64_t index = indices.data()[i];
            if (index < 0 || index >= count)
                require(false, "index " + std::to_string(index) + " is not one of " + std::to_string(count) + " examples");
        }
        return {images.data(), nullptr, images.shape(0)};
    }

    Examples check_examples(const Images& images, const Vector<std::uint8_t>& labels, const Vector<std::int64_t>& indices) {
        Examples examples = check_images(images, indices);
        require(labels.size() == images.shape(0), "labels: expected one for each image");
        for (std::size_t i = 0; i < indices.size(); i++) {
            const int label = labels.data()[indices.data()[i]];
            if (label >= network_.outputs())
                require(false, "label " + std::to_string(label) + ": the network has " + std::to_string(network_.outputs()) + " outputs");
        }
        examples.labels = labels.data();
        return examples;
    }

    const View* check_views(const Views& views, std::size_t count) {
        require(views.shape(0) == count, "views: expected one for each entry of order");
        check_aligned(views, "views");
        const Shape shape = network_.input();
        const auto* seen = reinterpret_cast<const View*>(views.data());
        for (std::size_t i = 0; i < count; i++) {
            const View& view = seen[i];
            require(view.down > -shape.height && view.down < shape.height && view.right > -shape.width &&
                        view.right < shape.width && (view.mirrored == 0 || view.mirrored == 1),
                    "views: that of entry " + std::to_string(i) + " leaves the image, or is not mirrored 0 or 1");
        }
        return seen;
    }

    Network network_;
    std::atomic<bool> used_{false};
};

}  // namespace

// A macro more, so that the name that the build gives is put in.
#define LANES_MAKE_MODULE(name, m) NB_MODULE(name, m)
LANES_MAKE_MODULE(LANES_MODULE, m) {
    nb::class_<Bound>(m, "Network")
        .def(nb::init<std::tuple<int, int, int>, const std::vector<Spec>&>(), "input_shape"_a, "ops"_a)
        .def("set_input", &Bound::set_input, "scale"_a.noconvert(), "shift"_a.noconvert())
        .def("set_weight", &Bound::set_weight, "op"_a, "weight"_a.noconvert())
        .def("weight", &Bound::weight, "op"_a)
        .def("set_bias", &Bound::set_bias, "op"_a, "bias"_a.noconvert())
        .def("bias", &Bound::bias, "op"_a)
        .def("set_masks", &Bound::set_masks, "masks"_a.noconvert(), "kernels"_a = "auto")
        .def("kernels", &Bound::kernels)
        .def("set_optimizer", &Bound::set_optimizer, "kind"_a, "values"_a)
        .def("slots", &Bound::slots)
        .def("state", &Bound::state, "op"_a, "which"_a, "slot"_a)
        .def("set_state", &Bound::set_state, "op"_a, "which"_a, "slot"_a, "values"_a.noconvert())
        .def("train", &Bound::train, "images"_a.noconvert(), "labels"_a.noconvert(), "order"_a.noconvert(), "batch_size"_a,
             "first_step"_a, "rates"_a.noconvert(), "seeds"_a.noconvert(), "slice_seconds"_a, "interrupted"_a,
             nb::arg("views").noconvert().none() = nb::none())
        .def("evaluate", &Bound::evaluate, "images"_a.noconvert(), "labels"_a.noconvert(), "indices"_a.noconvert(),
             "interrupted"_a)
        .def("logits", &Bound::logits, "images"_a.noconvert(), "indices"_a.noconvert())
        .def("gradients", &Bound::gradients, "images"_a.noconvert(), "labels"_a.noconvert(), "indices"_a.noconvert(),
             "seed"_a);
}

}  // namespace lanes::LANES_ISA
