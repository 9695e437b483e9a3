"""How weights and larger units are scored: pure functions, and the catalogue that lists them.

Larger means keep. A signed score is taken as it is: -10 is less than -1, and is pruned first.
"""

from __future__ import annotations

from pomona.pruning.criteria import activations, chance, curvature, gradients, magnitudes
from pomona.pruning.criteria.zhou import MASK_CRITERIA
from pomona.pruning.criterion import Criterion

_CHANNELS = ("channel-in", "channel-out")
_AUTOGRAD = "float64 autograd, written out one example at a time"
_TRAINING = "Batch norm takes its statistics from the examples; dropout is off."

_RECORDS = (
    Criterion(
        name="magnitude",
        function=magnitudes.magnitude,
        evidence=("weight",),
        formula="|w|; of a larger unit the sum of |w| (norm 1)",
        source="Han et al. 2015, arXiv:1506.02626",
        oracle="torch.nn.utils.prune.l1_unstructured",
    ),
    Criterion(
        name="norm",
        function=magnitudes.norm,
        unit=magnitudes.norm_unit,
        evidence=("weight", "mask", "n"),
        formula="(sum |w|^n)^(1/n) of a unit; n = inf the largest |w|, n = -inf the smallest",
        source="Li et al. 2017, arXiv:1608.08710; Paganini and Forde 2020, arXiv:2001.05050",
        oracle="torch.nn.utils.prune.ln_structured; torch.linalg.vector_norm",
    ),
    Criterion(
        name="random",
        function=chance.random,
        unit=chance.random_unit,
        evidence=("weight", "stream"),
        formula="uniform in [0, 1) from the mask stream of the replicate, level and parameter",
        source="the control of every paper of this field",
        oracle="the numbers of the stream",
        degree=0.0,
    ),
    *MASK_CRITERIA,
    Criterion(
        name="gradient",
        function=gradients.gradient,
        evidence=("gradient",),
        formula="|g|, g the mean loss gradient",
        source="the ablation of Lee et al. 2019, arXiv:1810.02340, without the weight",
        oracle=_AUTOGRAD,
        degree=0.0,
    ),
    Criterion(
        name="snip",
        function=gradients.snip,
        evidence=("weight", "gradient"),
        formula="|w g|, g the mean loss gradient",
        source="Lee et al. 2019, arXiv:1810.02340",
        oracle=_AUTOGRAD,
        notes="Not divided by the sum of all scores, which changes no order. " + _TRAINING,
    ),
    Criterion(
        name="grasp",
        function=gradients.grasp,
        evidence=("weight", "hessian_gradient"),
        formula="w (H g) of the loss with logits / 200, signed",
        source="Wang et al. 2020, arXiv:2002.07376",
        oracle="the full float64 Hessian of a small network, times its gradient",
        notes="The paper writes -w (H g) and removes the highest. g is that of the kept prunable weights. "
        + _TRAINING,
    ),
    Criterion(
        name="synflow",
        function=gradients.synflow,
        evidence=("weight", "flow"),
        formula="|w dR/d|w||, R the summed outputs of the network of absolute values for an input of ones",
        source="Tanaka et al. 2020, arXiv:2006.05467",
        oracle="products over all paths of a small network, summed in a loop",
        notes="In float64 and evaluation mode, at one input. The paper prunes in 100 rounds to exponentially "
        "falling densities, all layers together.",
    ),
    Criterion(
        name="taylor",
        function=gradients.taylor,
        unit=gradients.taylor_unit,
        evidence=("weight", "mask", "gradient"),
        formula="(w g)^2; of a larger unit (sum of w g)^2",
        source="Molchanov et al. 2019, arXiv:1906.10771",
        oracle="the change of the loss in float64 as a weight goes to zero",
        degree=2.0,
        notes="First order, from the mean gradient of all examples; the paper averages over batches.",
    ),
    Criterion(
        name="fisher",
        function=gradients.fisher,
        evidence=("weight", "squared_gradient"),
        formula="w^2 E[g^2] / 2, g the loss gradient of one example",
        source="Theis et al. 2018, arXiv:1801.05787",
        oracle=_AUTOGRAD,
        degree=2.0,
        notes="The empirical Fisher, at the given labels; evaluation mode. A larger unit has the sum over "
        "its weights, where the paper scores a gate of the unit.",
    ),
    Criterion(
        name="obd",
        function=curvature.obd,
        evidence=("weight", "curvature"),
        formula="w^2 h_qq / 2, h the diagonal of the Gauss-Newton matrix",
        source="LeCun, Denker and Solla 1990, Optimal Brain Damage",
        oracle="finite differences of the loss in float64, on networks of ReLUs",
        degree=2.0,
        notes="The Hessian's diagonal where the network is piecewise linear and the loss cross-entropy. "
        "Evaluation mode. One backward pass an example and class.",
    ),
    Criterion(
        name="obs",
        function=curvature.obs,
        evidence=("weight", "inverse_curvature"),
        formula="w^2 / (2 [H^-1]_qq), H in damped Gauss-Newton blocks",
        source="Hassibi and Stork 1993, Optimal Brain Surgeon",
        oracle="brute-force inverse; the constrained quadratic minimum",
        degree=2.0,
        update=curvature.obs_update,
        update_evidence=("inverse_blocks",),
        notes="Blocks of at most 512 consecutive weights, damped by 1 % of the layer's mean diagonal; only "
        "kept weights take part. The survivors of each block are changed to make up for what went.",
    ),
    Criterion(
        name="activation",
        function=None,
        unit=activations.activation,
        evidence=("activation_mean",),
        formula="mean of max(z, 0), z what an output channel gives; mean |x| of an input channel",
        source="Molchanov et al. 2017, arXiv:1611.06440",
        oracle="a loop over examples, positions and channels",
        only=_CHANNELS,
        degree=0.0,
        notes="z is the layer's own output, before a batch norm that may follow. Evaluation mode.",
    ),
    Criterion(
        name="apoz",
        function=None,
        unit=activations.apoz,
        evidence=("activation_zeros",),
        formula="-(share of z <= 0), z what an output channel gives; -(share of x = 0) of an input channel",
        source="Hu et al. 2016, arXiv:1607.03250",
        oracle="a loop over examples, positions and channels",
        only=_CHANNELS,
        degree=0.0,
        notes="z is the layer's own output, before a batch norm that may follow. Evaluation mode.",
    ),
    Criterion(
        name="wanda",
        function=activations.wanda,
        evidence=("weight", "input_norm"),
        formula="|w| times the 2-norm of the inputs it multiplies, over examples and positions",
        source="Sun et al. 2024, arXiv:2306.11695",
        oracle="a loop over unfolded inputs",
        notes="The paper compares within each output; here the scope and granularity say what is compared.",
    ),
    Criterion(
        name="lamp",
        function=magnitudes.lamp,
        unit=magnitudes.lamp_unit,
        evidence=("weight", "mask"),
        formula="w^2 over the sum of v^2 of the kept v of its layer that are not smaller",
        source="Lee et al. 2021, arXiv:2010.07611",
        oracle="a double loop over the layer",
        degree=0.0,
        notes="Meant for scope global; within a layer it is the order of magnitudes. A larger unit: the same "
        "of squared norms.",
    ),
)

CRITERIA: dict[str, Criterion] = {record.name: record for record in _RECORDS}
