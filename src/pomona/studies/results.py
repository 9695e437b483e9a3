"""The results of a study: tidy tables, summaries, failures, and its states as modules."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pomona.core.errors import InputError, unknown
from pomona.graph.nodes import Probe
from pomona.graph.scheduler import LASTING
from pomona.graph.store import DEFAULT_STORE, Store
from pomona.stats.intervals import summarise
from pomona.studies import landscape
from pomona.studies.expand import expand
from pomona.studies.own import OwnMeasure, own_measures
from pomona.studies.points import Pair, Point, Population
from pomona.studies.schema import QUANTITIES, REPLICATE
from pomona.studies.study import Study, load_study

if TYPE_CHECKING:
    import pandas as pd
    from torch import nn

    from pomona.studies.blinding.blind import Blind

_PARTS = ("test", "validation")
_DIRECT = {"accuracy", "loss", "chance", "at-chance", "class-accuracy", "class-count"}
_MEASURE_OF = {quantity: measure for measure, given in QUANTITIES.items() for quantity in given}


@dataclass(frozen=True)
class LostPoint:
    """A point of the study without a result, and why.

    Args:
        point: The point.
        kind: The class of failure, or ``not run``.
        reason: What happened.
        failed: Key of the state that failed, its own or one it descends from; None where none did.
    """

    point: Point
    kind: str
    reason: str
    failed: str | None = None


class Results:
    """What a store holds for a study.

    Args:
        study: A checked study.
        store: The store it was run with.
        population: Its graph, where it has been expanded already.
    """

    blind: Blind | None = None  # of results under codes; see studies/blinding/blinded.py

    def __init__(self, study: Study, store: Store, population: Population | None = None) -> None:
        self.study = study
        self.store = store
        self.population = population or expand(study)
        self.factors = list(study.factors)

    def shown_key(self, key: str) -> str:
        """The key of a state or probe as it may be printed."""
        return key

    def shown_text(self, text: str) -> str:
        """A message of a run as it may be printed."""
        return text

    @cached_property
    def _values(self) -> dict[str, list[tuple[str, str, int, float | None]]]:
        """Measured numbers by probe."""
        keys = list(self.population.graph.probes)
        found: dict[str, list[tuple[str, str, int, float | None]]] = {}
        for start in range(0, len(keys), 500):
            chunk = keys[start : start + 500]
            marks = ",".join("?" * len(chunk))
            sql = f"SELECT probe, quantity, layer, class, value FROM measurements WHERE probe IN ({marks})"
            for probe, quantity, layer, class_, value in self.store.ledger.rows(sql, chunk):
                found.setdefault(probe, []).append((quantity, layer, class_, value))
        return found

    @cached_property
    def _kept(self) -> dict[str, dict[str, tuple[int, int]]]:
        """Kept and all weights by masked state and layer."""
        keys = {point.masked.key for point in self.population.points}
        return {key: facts["kept"] for key, facts in self.store.ledger.facts(keys).items() if "kept" in facts}

    def density(self, point: Point, layer: str = "") -> float | None:
        """Share of the prunable weights that are kept, of one layer or all; None where there is none yet."""
        kept = self._kept.get(point.masked.key)
        if not kept or (layer and layer not in kept):
            return None
        return _share([kept[layer]] if layer else list(kept.values()))

    def measured(self, probe: Probe) -> dict[tuple[str, str, int], float | None]:
        """What a probe found, by quantity, layer and class (-1 where there is none)."""
        return {(q, layer, class_): value for q, layer, class_, value in self._values.get(probe.key, [])}

    def frame(self) -> pd.DataFrame:
        """Every number of the study, one a row.

        Columns: study, step, replicate, level, the factors, state, density, quantity, part (of the data; of
        a user's probe that is asked for more than once its parameters; of ``rank-correlation@1ep`` the
        moment), layer (of what is measured along a line the place on it, from 0, the row's own arm, to 1, the
        other), class, against (the other arm of a pair), against_density, value.
        """
        import pandas as pd

        rows = [row for point in self.population.points for row in self._point_rows(point)]
        rows += [row for pair in self._compared for row in self._pair_rows(pair)]
        table = pd.DataFrame(rows, columns=self.columns)
        table["class"] = table["class"].astype("Int64")
        return table

    @property
    def columns(self) -> list[str]:
        """Names of the columns of ``frame``."""
        first = ["study", "step", "replicate", "level", *self.factors, "state", "density"]
        return [*first, "quantity", "part", "layer", "class", "against", "against_density", "value"]

    def summary(
        self, quantity: str = "accuracy", part: str = "test", confidence: float = 0.95, layer: str = ""
    ) -> pd.DataFrame:
        """Mean, SD and t interval over replicates for every arm and level; of the whole network or a layer.

        Columns: step, level, the factors, density (mean over replicates), n, mean, sd, low, high, failures
        (replicates whose state or measurement is missing), at_chance (replicates at chance; accuracy only).
        """
        import pandas as pd

        groups: dict[tuple[Any, ...], list[Point]] = {}
        for point in self.population.points:
            groups.setdefault((point.step, point.level, *self._labels(point)), []).append(point)
        rows = []
        for place, points in groups.items():
            values = [self._single(point, quantity, part, layer) for point in points]
            there = [value for value in values if value is not None]
            densities = [d for d in map(self.density, points) if d is not None]
            found = summarise(there, confidence) if there else None
            flagged = [self._single(point, "at-chance", part) for point in points]
            rows.append(
                {
                    **dict(zip(["step", "level", *self.factors], place, strict=True)),
                    "density": sum(densities) / len(densities) if densities else None,
                    "n": len(there),
                    "mean": found.mean if found else None,
                    "sd": found.sd if found else None,
                    "low": found.low if found else None,
                    "high": found.high if found else None,
                    "failures": sum(self._is_missing(point, quantity, part) for point in points),
                    "at_chance": sum(flag == 1.0 for flag in flagged),
                }
            )
        return pd.DataFrame(rows)

    def distances(self, confidence: float = 0.95) -> pd.DataFrame:
        """Mask distance of every pair of arms by layer: mean and t interval over replicates, and chance.

        Pairs are at equal level, which need not be equal density: both densities are given.

        Columns: step, level, a, b (labels of the arms), layer (``all`` of the whole network), density_a,
        density_b (of the layer), n, mean, sd, low, high, chance (expected distance of independent masks of
        these counts and granularities).
        """
        import pandas as pd

        groups: dict[tuple[str, int, str, str, str], list[list[float]]] = {}
        for pair in self.population.pairs:
            found = {(q, layer): v for q, layer, _, v in self._values.get(pair.probe.key, [])}
            for layer in [layer for q, layer in found if q == "chance-distance"]:
                place = (pair.a.step, pair.a.level, _arm(pair.a), _arm(pair.b), layer or "all")
                distance, chance = found["jaccard-distance", layer], found["chance-distance", layer]
                shares = [self.density(point, layer) for point in (pair.a, pair.b)]
                numbers = [number for number in (distance, chance, *shares) if number is not None]
                if len(numbers) == 4:
                    groups.setdefault(place, []).append(numbers)
        rows = []
        for place, values in groups.items():
            distances, chances, dense_a, dense_b = (list(column) for column in zip(*values, strict=True))
            stat = summarise(distances, confidence)
            means = [sum(column) / len(column) for column in (dense_a, dense_b)]
            chance = sum(chances) / len(chances)
            rows.append((*place, *means, stat.n, stat.mean, stat.sd, stat.low, stat.high, chance))
        names = ["step", "level", "a", "b", "layer", "density_a", "density_b"]
        return pd.DataFrame(rows, columns=[*names, "n", "mean", "sd", "low", "high", "chance"])

    def collapsed(self, point: Point) -> bool:
        """Whether a layer of it was pruned to nothing."""
        return point.masked.key in self._collapsed

    def status_of(self, probe: Probe) -> str:
        """``planned``, ``done`` or ``failed``."""
        return self._probe_status.get(probe.key, "planned")

    def blocked(self, key: str) -> bool:
        """Whether a state failed for good, or one that it descends from: no later run tries it again."""
        return any(self.final(state.key) for state in self.population.graph.ancestors(key))

    def final(self, key: str) -> bool:
        """Whether a state or probe failed in a way that ends the same at every try."""
        return key in self._final

    @cached_property
    def _final(self) -> set[str]:
        statuses = {**self._status, **self._probe_status}
        rows = self.store.ledger.rows("SELECT node, kind FROM attempts WHERE status = 'failed' ORDER BY id")
        kinds = {row["node"]: row["kind"] for row in rows}
        return {key for key, kind in kinds.items() if kind in LASTING and statuses.get(key) == "failed"}

    @cached_property
    def _collapsed(self) -> set[str]:
        keys = {point.masked.key for point in self.population.points}
        return {key for key, facts in self.store.ledger.facts(keys).items() if facts.get("collapsed")}

    @cached_property
    def _probe_status(self) -> dict[str, str]:
        return self.store.ledger.statuses("probes")

    @cached_property
    def lost_states(self) -> dict[str, LostPoint]:
        """Points without a state, by the key that it would have."""
        return {lost.point.state.key: lost for lost in self.lost()}

    def lost(self) -> list[LostPoint]:
        """Points without a state, by their own failure or by one they descend from."""
        status = self._status
        reasons = {
            row["node"]: (row["kind"], row["reason"])
            for row in self.store.ledger.rows(
                "SELECT node, kind, reason FROM attempts WHERE status = 'failed'"
            )
        }
        found = []
        for point in self.population.points:
            if status.get(point.state.key) == "done":
                continue
            line = [state.key for state in self.population.graph.ancestors(point.state.key)]
            failed = next((key for key in line if status.get(key) == "failed"), None)
            if failed is None:
                found.append(LostPoint(point, "not run", "not computed yet"))
            else:
                kind, reason = reasons.get(failed, ("error", "no attempt is on record"))
                place = "" if failed == point.state.key else f"it descends from {failed[:12]}: "
                found.append(LostPoint(point, kind, place + reason, failed))
        return found

    def point(self, level: int = 0, replicate: int = 0, step: str | None = None, **arm: str) -> Point:
        """The one point of a step, replicate, level and arm.

        Args:
            level: Pruning level.
            replicate: Replicate.
            step: Name of the step; the last of the study that is no ensemble by default.
            arm: Label by factor; a factor with one label in this step may be left out.

        Raises:
            InputError: No point or several fit; says what there is.
        """
        wanted = step or self.study.networks[-1]
        if wanted not in self.study.order:
            raise InputError(unknown("step", wanted, self.study.order))
        for factor, label in arm.items():
            if factor not in self.study.factors:
                raise InputError(unknown("factor", factor, self.study.factors))
            if label not in self.study.factors[factor]:
                raise InputError(unknown(f"label of factor {factor!r}", label, self.study.factors[factor]))
        of_step = [p for p in self.population.points if p.step == wanted]
        found = [
            p
            for p in of_step
            if (p.level, p.replicate) == (level, replicate) and arm.items() <= dict(p.arm).items()
        ]
        if len(found) == 1:
            return found[0]
        if found:
            arms = "; ".join(str(dict(p.arm)) for p in found[:4])
            raise InputError(f"{len(found)} states fit; give more of the arm: {arms}")
        if not of_step:
            raise InputError(f"step {wanted!r} has no state in this study: no arm has all of its members")
        joined = self.study.spec.steps.get(wanted)
        if joined is not None and joined.ensemble is not None and joined.ensemble.over == REPLICATE:
            raise InputError(
                f"step {wanted!r} joins all replicates: it is there once for each arm and level, up to level "
                f"{max(p.level for p in of_step)}, as replicate {of_step[0].replicate}; got replicate "
                f"{replicate} at level {level} of {arm}"
            )
        last = max(p.level for p in of_step)
        raise InputError(
            f"step {wanted!r} has no replicate {replicate} at level {level} of {arm}: there are replicates "
            f"0 to {self.study.spec.replicates - 1} and levels up to {last}"
        )

    def module(self, level: int = 0, replicate: int = 0, step: str | None = None, **arm: str) -> nn.Module:
        """A result as a plain ``torch.nn.Module`` in evaluation mode; see ``point`` for the arguments."""
        from pomona.studies.modules import load_module

        return load_module(self.point(level, replicate, step, **arm).state.key, self.store)

    def _is_missing(self, point: Point, quantity: str, part: str) -> bool:
        """Whether a point lacks what was asked of it: its state, or the measurement."""
        probe = point.probes.get(self._asked(quantity, part))
        if probe is not None:
            return probe.key not in self._values
        return self._status.get(point.state.key) != "done"

    @cached_property
    def _status(self) -> dict[str, str]:
        return self.store.ledger.statuses("states")

    @cached_property
    def _own(self) -> dict[str, dict[str, OwnMeasure]]:
        """Users' measures by quantity and label."""
        own = own_measures(self.study.spec, self.study.order, self.study.document)
        found: dict[str, dict[str, OwnMeasure]] = {}
        for measure in own:
            probes = [
                point.probes[measure.label]
                for point in self.population.points
                if measure.label in point.probes
            ]
            for quantity in dict.fromkeys(
                row[0] for probe in probes for row in self._values.get(probe.key, [])
            ):
                found.setdefault(quantity, {})[measure.label] = measure
        return found

    def _asked(self, quantity: str, part: str) -> str:
        """The name among a point's probes under which a quantity is measured."""
        if quantity in _DIRECT:
            return part
        labels = {own.part: label for label, own in self._own.get(quantity, {}).items()}
        measure = _MEASURE_OF.get(quantity, quantity)
        if f"{measure}@{part}" in self.study.spec.measure:
            return f"{measure}@{part}"
        return labels.get(part) or labels.get("") or next(iter(labels.values()), measure)

    def _labels(self, point: Point) -> list[str]:
        return [point.arm.get(factor, "") for factor in self.factors]

    def _single(self, point: Point, quantity: str, part: str, layer: str = "") -> float | None:
        probe = point.probes.get(self._asked(quantity, part))
        for name, of_layer, class_, value in self._values.get(probe.key, []) if probe else []:
            if (name, of_layer, class_) == (quantity, layer, -1):
                return value
        return None

    def _point_rows(self, point: Point) -> list[tuple[Any, ...]]:
        head = self._head(point)
        rows: list[tuple[Any, ...]] = []
        wanted = set(self.study.spec.measure)
        if "density" in wanted:
            kept = self._kept.get(point.masked.key, {})
            shares = [("", self.density(point)), *((layer, _share([c])) for layer, c in kept.items())]
            rows += [(*head, "density", "", layer, None, "", None, s) for layer, s in shares if s is not None]
        for name, probe in point.probes.items():
            for quantity, layer, class_, value in self._values.get(probe.key, []):
                own = self._own.get(quantity, {}).get(name)
                part = own.part if own is not None else name if name in _PARTS else name.partition("@")[2]
                place = None if class_ < 0 else class_
                rows.append((*head, quantity, part, layer, place, "", None, value))
        return rows

    def _pair_rows(self, pair: Pair) -> list[tuple[Any, ...]]:
        head = self._head(pair.a)
        against, density = " ".join(pair.b.arm.values()), self.density(pair.b)
        walked = pair.probe.name == landscape.NAME
        # The ends of a line are in the order of their keys: here the first is the row's own arm.
        turned = walked and pair.probe.states[0] != pair.a.state.key
        rows = []
        for quantity, layer, _, value in self._values.get(pair.probe.key, []):
            place = landscape.turned(layer) if turned and quantity in landscape.ALONG else layer
            part = "test" if walked else ""
            rows.append((*head, quantity, part, place, None, against, density, value))
        return rows

    @property
    def _compared(self) -> list[Pair]:
        return [*self.population.pairs, *self.population.paths]

    def _head(self, point: Point) -> tuple[Any, ...]:
        place = (self.study.name, point.step, point.replicate, point.level, *self._labels(point))
        return (*place, self.shown_key(point.state.key), self.density(point))


def load_results(
    study: str | Path,
    preset: str | None = None,
    store: Path | str = DEFAULT_STORE,
    changes: Sequence[str] | Mapping[str, Any] = (),
    device: str = "cpu",
) -> Results:
    """The results that a store holds for a study; nothing is computed. Under codes while it is blinded.

    Args:
        study: A name of the library, or the path of a YAML file.
        preset: One of its presets.
        store: Folder of the store.
        changes: Single values, as in ``run``.
        device: Where it was run: the bits of a GPU differ, so its states are others.

    Raises:
        InputError: They are also those of another study that is blinded.
    """
    from pomona.studies.blinding.blinded import shown  # which is made of results

    checked = load_study(study, preset, changes)
    return shown(Results(checked, Store(store, create=False), expand(checked, device)))


def _arm(point: Point) -> str:
    return " ".join(point.arm.values()) or point.step


def _share(counts: Sequence[tuple[int, int]]) -> float:
    return sum(kept for kept, _ in counts) / sum(total for _, total in counts)
