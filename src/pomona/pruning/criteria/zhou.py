"""The records of the 13 mask criteria of Zhou et al. 2019; the last of them is ``random``.

The sign variants are there in both forms: as the papers write them, and as the code has them (zeroed).
"""

from __future__ import annotations

from pomona.pruning.criteria import initial, magnitudes
from pomona.pruning.criterion import Criterion

_ZHOU = "Zhou et al. 2019, arXiv:1905.01067"
_ZHOU_CODE = "the code of Zhou et al. 2019 (arXiv:1905.01067)"
_BY_HAND = "small tensors worked out by hand"
_SEARCH = "an explicit search for the a by which both cut the same number"
_RANKS = (
    "The lower rank among the layer's kept weights, over their number: the same order as with the a of every "
    "count. Two weights share a rank, one from each list; the lower index goes first. The paper's code "
    "bisects percentiles and can miss the count by one or more."
)
_SIGNED = (
    "As the papers write it; their code has {name}-zeroed. A zero at either time has no sign and scores 0."
)
_ZEROED = (
    "As the code has it; the papers write the signed formula. The other weights all score 0, and random "
    "numbers cut their ties. Zeros have a sign of their own, 0."
)

MASK_CRITERIA = (
    Criterion(
        name="large-final",
        function=magnitudes.magnitude,
        evidence=("weight",),
        formula="|w_f|",
        source=_ZHOU,
        oracle="torch.nn.utils.prune.l1_unstructured",
        notes="The magnitude criterion under the name of its pair, small-final.",
    ),
    Criterion(
        name="small-final",
        function=initial.small_final,
        evidence=("weight",),
        formula="-|w_f|",
        source=_ZHOU,
        oracle=_BY_HAND,
    ),
    Criterion(
        name="large-init",
        function=initial.large_init,
        evidence=("initial",),
        formula="|w_i|",
        source=_ZHOU,
        oracle=_BY_HAND,
    ),
    Criterion(
        name="small-init",
        function=initial.small_init,
        evidence=("initial",),
        formula="-|w_i|",
        source=_ZHOU,
        oracle=_BY_HAND,
    ),
    Criterion(
        name="large-init-large-final",
        function=initial.large_init_large_final,
        evidence=("weight", "initial", "mask"),
        formula="min(a |w_f|, |w_i|), a such that both cut equally",
        source=_ZHOU,
        oracle=_SEARCH,
        degree=0.0,
        notes=_RANKS,
    ),
    Criterion(
        name="small-init-small-final",
        function=initial.small_init_small_final,
        evidence=("weight", "initial", "mask"),
        formula="-max(a |w_f|, |w_i|), a such that both cut equally",
        source=_ZHOU,
        oracle=_SEARCH,
        degree=0.0,
        notes=_RANKS,
    ),
    Criterion(
        name="magnitude-increase",
        function=initial.magnitude_increase,
        evidence=("weight", "initial"),
        formula="|w_f| - |w_i|",
        source=_ZHOU,
        oracle=_BY_HAND,
    ),
    Criterion(
        name="movement",
        function=initial.movement,
        evidence=("weight", "initial"),
        formula="|w_f - w_i|",
        source=_ZHOU,
        oracle=_BY_HAND,
        notes="Not the movement pruning of Sanh et al. 2020, which learns its scores by gradients.",
    ),
    Criterion(
        name="large-final-same-sign",
        function=initial.large_final_same_sign,
        evidence=("weight", "initial"),
        formula="|w_f| sign(w_f / w_i)",
        source=_ZHOU,
        oracle=_BY_HAND,
        notes=_SIGNED.format(name="large-final-same-sign"),
    ),
    Criterion(
        name="large-final-diff-sign",
        function=initial.large_final_diff_sign,
        evidence=("weight", "initial"),
        formula="-|w_f| sign(w_f / w_i)",
        source=_ZHOU,
        oracle=_BY_HAND,
        notes="The negative of large-final-same-sign. " + _SIGNED.format(name="large-final-diff-sign"),
    ),
    Criterion(
        name="magnitude-increase-same-sign",
        function=initial.magnitude_increase_same_sign,
        evidence=("weight", "initial"),
        formula="(|w_f| - |w_i|) sign(w_f / w_i)",
        source=_ZHOU,
        oracle=_BY_HAND,
        notes="A weight that shrank and changed its sign scores above 0. "
        + _SIGNED.format(name="magnitude-increase-same-sign"),
    ),
    Criterion(
        name="magnitude-increase-diff-sign",
        function=initial.magnitude_increase_diff_sign,
        evidence=("weight", "initial"),
        formula="-(|w_f| - |w_i|) sign(w_f / w_i)",
        source=_ZHOU,
        oracle=_BY_HAND,
        notes="A weight that shrank and kept its sign scores above 0. "
        + _SIGNED.format(name="magnitude-increase-diff-sign"),
    ),
    Criterion(
        name="large-final-same-sign-zeroed",
        function=initial.large_final_same_sign_zeroed,
        evidence=("weight", "initial"),
        formula="|w_f| where the sign is that of w_i, else 0",
        source=_ZHOU_CODE,
        oracle=_BY_HAND,
        ties="random",
        notes=_ZEROED,
    ),
    Criterion(
        name="large-final-diff-sign-zeroed",
        function=initial.large_final_diff_sign_zeroed,
        evidence=("weight", "initial"),
        formula="|w_f| where the sign is not that of w_i, else 0",
        source=_ZHOU_CODE,
        oracle=_BY_HAND,
        ties="random",
        notes=_ZEROED,
    ),
    Criterion(
        name="magnitude-increase-same-sign-zeroed",
        function=initial.magnitude_increase_same_sign_zeroed,
        evidence=("weight", "initial"),
        formula="|w_f| - |w_i| where the sign is that of w_i, else 0",
        source=_ZHOU_CODE,
        oracle=_BY_HAND,
        ties="random",
        notes=_ZEROED + " What changed its sign ranks above what shrank and kept it.",
    ),
    Criterion(
        name="magnitude-increase-diff-sign-zeroed",
        function=initial.magnitude_increase_diff_sign_zeroed,
        evidence=("weight", "initial"),
        formula="|w_f| - |w_i| where the sign is not that of w_i, else 0",
        source=_ZHOU_CODE,
        oracle=_BY_HAND,
        ties="random",
        notes=_ZEROED + " What kept its sign ranks above what changed it and shrank.",
    ),
)
