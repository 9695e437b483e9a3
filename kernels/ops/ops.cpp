// The list of operations: one line each.
#include "../op.h"

namespace lanes::LANES_ISA {

#define LANES_OPS(declare)                                                                                         \
    declare(linear) declare(conv) declare(maxpool) declare(avgpool) declare(adaptive_avgpool) declare(relu)        \
        declare(dropout)

#define LANES_DECLARE(name)                              \
    Shape name##_shape(const OpSpec&, const Shape& in);  \
    std::unique_ptr<Op> make_##name(const OpSpec&, Value& in, Value& out);
LANES_OPS(LANES_DECLARE)

const OpKind& op_kind(const std::string& kind) {
#define LANES_ENTRY(name) {#name, {name##_shape, make_##name}},
    static const std::map<std::string, OpKind> kinds = {LANES_OPS(LANES_ENTRY)};
    const auto found = kinds.find(kind);
    if (found != kinds.end()) return found->second;
    std::string known;
    for (const auto& entry : kinds) known += (known.empty() ? "" : ", ") + entry.first;
    throw std::invalid_argument("unknown operation '" + kind + "'; expected one of " + known);
}

}  // namespace lanes::LANES_ISA
