"""Which pairs of arms are drawn together: no more than colours can tell apart."""

from __future__ import annotations

import itertools
from collections.abc import Collection, Iterator, Sequence

from pomona.report.arms import PALETTE, Arm, shorten, shorten_each

Pair = tuple[Arm, Arm]

# More figures than this are not drawn; every distance is among the results.
MOST_FIGURES = 8


def figures_of_pairs(
    arms: Sequence[Arm], present: Collection[tuple[str, str, str]]
) -> list[tuple[str, dict[str, Pair]]]:
    """Pairs by figure and name, with what the figure's title says of them.

    A few pairs share one figure. Of many, those are drawn whose arms differ in one factor only, a figure for
    each setting of the others; where even these are many, only those with the first arm of the setting.

    Args:
        arms: The arms that are shown.
        present: Step and full names of the pairs that were measured.
    """
    pairs = [(a, b) for a, b in itertools.combinations(arms, 2) if (a.step, a.full, b.full) in present]
    most = len(PALETTE)
    if len(pairs) <= most:
        return [("", _named([(a.name, b.name) for a, b in pairs], pairs))] if pairs else []
    groups: dict[tuple[str, str], list[Pair]] = {}
    for a, b in pairs:
        differ = [factor for factor in a.labels if a.labels[factor] != b.labels[factor]]
        if len(differ) == 1:
            groups.setdefault((differ[0], _setting(a, arms, differ[0])), []).append((a, b))
    order = {factor: i for i, factor in enumerate(arms[0].labels)}
    found: list[tuple[str, dict[str, Pair]]] = []
    for (factor, setting), group in sorted(groups.items(), key=lambda item: order.get(item[0][0], 0)):
        chosen = group if len(group) <= most else [pair for pair in group if pair[0] is group[0][0]]
        for number, part in enumerate(_parts(chosen, most), 1):
            title = f"{setting} (part {number})" if len(chosen) > most else setting
            found.append((title, _named([(a.labels[factor], b.labels[factor]) for a, b in part], part)))
    return found[:MOST_FIGURES]


def _named(names: Sequence[tuple[str, str]], pairs: Sequence[Pair]) -> dict[str, Pair]:
    texts = shorten(["  ↔  ".join(shorten_each(both)) for both in names], 100)
    return dict(zip(texts, pairs, strict=True))


def _setting(arm: Arm, arms: Sequence[Arm], factor: str) -> str:
    others = [
        f"{name}: {label}"
        for name, label in arm.labels.items()
        if name != factor and len({other.labels.get(name) for other in arms}) > 1
    ]
    steps = [arm.step] if len({other.step for other in arms}) > 1 else []
    text = ", ".join([*steps, *others])
    return shorten([f"{factor} varies, {text}" if text else f"{factor} varies"], 70)[0]


def _parts(pairs: Sequence[Pair], size: int) -> Iterator[list[Pair]]:
    return (list(pairs[i : i + size]) for i in range(0, len(pairs), size))
