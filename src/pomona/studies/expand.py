"""From a study to the graph of its states and probes, and what each state stands for."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from pomona.core.canonical import Value
from pomona.core.errors import InputError, ProblemsError
from pomona.data.choice import DataChoice
from pomona.graph.growth import add_state
from pomona.graph.nodes import Graph, State
from pomona.pruning.controls import CONTROLS
from pomona.pruning.pools import check_names
from pomona.pruning.treatments import Treatment
from pomona.studies.engines import engine_faults
from pomona.studies.feasible import unfit
from pomona.studies.identity import Identities, Network
from pomona.studies.measuring import Measuring, predicted, state_at
from pomona.studies.points import Point, Population
from pomona.studies.prunable import kinds_of
from pomona.studies.resolve import Applied, Arm, Ensembled, MaskSource, Pruning, ResolvedStep, Selector
from pomona.studies.schema import REPLICATE
from pomona.studies.study import Study
from pomona.studies.varied import idle_faults

_REWIND = Treatment(name="rewind")
_SHUFFLE = Treatment(name="permute-survivors")

# Layers that every network of the catalogue has.
_EVERYWHERE = frozenset({"all", "linear"})


def _fit_for(pruning: Pruning | None, network: Network) -> Network:
    """A network with an engine that can hold pruned weights as the method wants them."""
    return network.holding if pruning is not None and pruning.method.pruned != "zero" else network


def expand(study: Study, device: str = "cpu") -> Population:
    """Build the graph of a study; nothing is computed.

    Args:
        study: A checked study.
        device: ``cpu`` or ``cuda``.

    Raises:
        InputError: Data or a user's file is not there, or a selector finds no state.
    """
    return _Expansion(study, device).population


class _Expansion:
    def __init__(self, study: Study, device: str) -> None:
        self.study = study
        asked = study.spec.engine
        self.make = Identities(study.document.folder, study.spec.hold, asked, device, study.spec.vary)
        self.graph = Graph()
        self.points: dict[tuple[str, int, tuple[str, ...]], list[Point]] = {}
        self._named: dict[tuple[str, int], Pruning] = {}  # were checked; kept, so that no other has their id
        # Again with the device and with users' data sets, which the check of the study does not load.
        settled = study.settled()
        faults = unfit(settled, study.document, self.make.info)
        faults += engine_faults(asked, device, settled, study.document, self.make.network)
        if faults:
            raise ProblemsError(f"{study.document.name} is not a valid study", faults)
        for step in study.order:
            for arm in study.arms_of(step):
                resolved = study.resolver.step(step, arm)
                for replicate in range(study.spec.replicates):
                    place = (step, replicate, tuple(arm.values()))
                    self.points[place] = list(self._build(resolved, arm, replicate))
        measuring = Measuring(study, self.graph, self.make, self.points)
        measuring.single()
        compared = list(measuring.pairs()), list(measuring.paths()), list(measuring.agreements())
        idle = list(idle_faults(study.spec, self.graph, study.document))
        if idle:
            raise ProblemsError(f"{study.document.name} is not a valid study", idle)
        self.population = Population(study, self.graph, measuring.points, *compared)

    def _build(self, step: ResolvedStep, arm: Arm, replicate: int) -> Iterator[Point]:
        if step.model is not None:
            yield from self._fresh(step, arm, replicate)
        elif step.applied is not None:
            yield from self._applied(step, step.applied, arm, replicate)
        elif step.ensembled is not None:
            yield from self._ensembled(step, step.ensembled, arm, replicate)
        elif step.base is not None:
            yield from self._iterated(step, arm, replicate)
        else:
            yield from self._masked(step, arm, replicate)

    def _fresh(self, step: ResolvedStep, arm: Arm, replicate: int) -> Iterator[Point]:
        """A new network, dense or under masks from elsewhere."""
        assert step.model is not None
        assert step.data is not None
        network = self.make.network(step.model, step.data)
        origin = self.graph.add(self.make.of(arm).init(network, replicate))
        if step.mask is None:
            yield self._trained(step, arm, replicate, 0, origin, origin, origin, network)
            return
        held = self._held(step, step.mask, arm, replicate)
        network = network.holding if held else network
        for level, masked in self._masks(step.mask, arm, replicate):
            start, begun = self._under(masked, origin, step, arm, (replicate, level, network), origin)
            point = self._trained(step, arm, replicate, level, masked, start, begun, network)
            yield replace(point, held=held)

    def _iterated(self, step: ResolvedStep, arm: Arm, replicate: int) -> Iterator[Point]:
        """Prune, treat and train, level after level. Level 0 is the state that is pruned first."""
        assert step.base is not None
        assert step.pruning is not None
        base = self._find(Selector(step.base), arm, replicate)[-1]
        network = _fit_for(step.pruning, base.network)
        point = Point(
            step.name,
            replicate,
            base.level,
            arm,
            base.state,
            base.masked,
            base.start,
            base.origin,
            base.network,
            step.data or base.data,
            base.run,
            base.trunk,
            first=base.first,
            held=base.held,
        )
        yield point
        data = base.data  # that the state which is pruned was trained on
        for level in range(base.level + 1, base.level + step.repeat + 1):
            share = step.pruning.share(level - base.level, step.repeat)
            masked = self._pruned(point.state, step.pruning, share, level, point, arm, data)
            start = masked
            treatment = step.treatment or Treatment(name="finetune")
            first = point.first
            if treatment.needs_target:
                target = self._target(point, treatment, level)
                start = self.graph.add(self.make.of(arm).treat(masked, target, treatment, replicate, level))
                first = start if treatment.makes_new_values else first
            held = step.pruning.method.pruned != "zero"
            point = self._trained(
                step, arm, replicate, level, masked, start, base.origin, network, base.trunk, point
            )
            point = replace(point, data=point.data or base.data, first=first, held=held)
            data = point.data
            yield point

    def _applied(self, step: ResolvedStep, applied: Applied, arm: Arm, replicate: int) -> Iterator[Point]:
        """A user's recipe on every state of a step, level by level; joined over a factor where it says so."""
        assert step.base is not None
        arms = [{**arm, applied.over: label} for label in applied.labels] if applied.over else [arm]
        by_level: dict[int, list[Point]] = {}
        for one in arms:
            for base in self._find(Selector(step.base), one, replicate):
                by_level.setdefault(base.level, []).append(base)
        point = None
        for level, bases in by_level.items():
            first = bases[0]
            parents = [base.state for base in bases]
            made = add_state(self.graph, applied.recipe, parents, applied.parameters)
            point = self._trained(
                step, arm, replicate, level, made, made, first.origin, first.network, first.trunk, point
            )
            point = replace(point, data=point.data or first.data)
            yield point

    def _ensembled(self, step: ResolvedStep, joined: Ensembled, arm: Arm, replicate: int) -> Iterator[Point]:
        """The averaged predictions of several states, level by level.

        Over replicates there is one, which stands as the first of those that are no pilot.
        """
        every = range(self.study.spec.registration.pilot, self.study.spec.replicates)
        if joined.over == REPLICATE:
            now = every if replicate == every.start else ()
            lineages = [self._find(Selector(joined.of), arm, r) for r in now]
        else:
            arms = [{**arm, joined.over: label} for label in joined.members]
            lineages = [self._find(Selector(joined.of), one, replicate) for one in arms]
        by_level: dict[int, list[Point]] = {}
        for point in itertools.chain(*lineages):
            by_level.setdefault(point.level, []).append(point)
        for level, members in by_level.items():
            # Level 0 may be one network for all of them.
            if len(members) < len(lineages) or len({member.state.key for member in members}) == 1:
                continue
            self._check_same_images(step.name, members)
            said = [predicted(member, self.make, self.graph) for member in members]
            state = self.graph.add(self.make.ensemble(said))
            first = members[0]
            place = (step.name, replicate, level, arm, state, state, state, first.origin)
            yield Point(*place, first.network, first.data, members=tuple(members))

    def _check_same_images(self, step: str, members: Sequence[Point]) -> None:
        seen = {member.data.name: member.data for member in members if member.data is not None}
        if len({self.make.info(data).fingerprint for data in seen.values()}) > 1:
            raise InputError(
                f"step {step!r} averages predictions of the same test images, and its members see "
                f"{' and '.join(seen)}; take an ensemble over another factor"
            )

    def _masked(self, step: ResolvedStep, arm: Arm, replicate: int) -> Iterator[Point]:
        """The weights of one state under the masks of another."""
        assert step.weights is not None
        assert step.mask is not None
        source = self._find(step.weights, arm, replicate)[-1]
        weights = state_at(source, step.weights.at, self.make, self.graph)
        held = self._held(step, step.mask, arm, replicate)
        network = source.network.holding if held else source.network
        for level, masked in self._masks(step.mask, arm, replicate):
            place = (replicate, level, network)
            start, origin = self._under(masked, weights, step, arm, place, source.origin)
            trunk = source.trunk if origin is source.origin else None
            point = self._trained(step, arm, replicate, level, masked, start, origin, network, trunk)
            first = start if step.mask.control == "shuffle-weights" else None
            yield replace(point, data=point.data or source.data, first=first, held=held)

    def _held(self, step: ResolvedStep, source: MaskSource, arm: Arm, replicate: int) -> bool:
        """Whether pruned weights under a mask are held at values.

        Raises:
            InputError: They are, and are to go where their values cannot follow.
        """
        if source.pruning is not None:
            held = source.pruning.method.pruned != "zero"
        else:
            first = {source.over: next(iter(self.study.factors[source.over]))} if source.over else {}
            known = {**arm, **first}
            held = any(point.held for point in self._find(source.of, known, replicate) if point.level > 0)
        control = CONTROLS[source.control].touches == "mask" if source.control else False
        what = "a control of masks" if control else "'join'" if source.join else "'map'" if step.fresh else ""
        if held and what:
            raise InputError(
                f"step {step.name!r}: {what} moves masks of which pruned weights are held at their initial "
                "values, and these cannot follow; take 'pruned: zero'"
            )
        return held

    def _under(
        self,
        masked: State,
        weights: State,
        step: ResolvedStep,
        arm: Arm,
        place: tuple[int, int, Network],
        origin: State,
    ) -> tuple[State, State]:
        """The weights of one state under the masks of another, or what a control makes of them.

        Returns:
            The state, and the untrained one that it descends from.
        """
        replicate, level, network = place
        make = self.make.of(arm)
        control = step.mask.control if step.mask is not None else None
        if control is not None and CONTROLS[control].touches == "weights":
            if step.fresh:
                raise InputError(f"step {step.name!r}: 'map' and the control {control!r} do not go together")
            plain = weights
            if control == "reinit":
                origin = weights = self.graph.add(make.init(network, replicate, draw=level + 1))
            treatment = _SHUFFLE if control == "shuffle-weights" else _REWIND
            made = make.treat(masked, weights, treatment, replicate, level, control, plain)
            return self.graph.add(made), origin
        if step.fresh:
            return self.graph.add(self.make.transfer(masked, weights, step.fresh)), origin
        return self.graph.add(make.treat(masked, weights, _REWIND, replicate, level)), origin

    def _pruned(
        self,
        state: State,
        pruning: Pruning,
        share: Mapping[str, Value],
        level: int,
        point: Point,
        arm: Arm,
        data: DataChoice | None,
    ) -> State:
        """A state of a lineage, pruned once more; ``data`` is what it was trained on."""
        self._check_names(pruning, point)
        like = self._like(pruning.like, arm, point.replicate, level) if pruning.like else None
        return self.graph.add(
            self.make.of(arm).prune(
                state, pruning, share, point.replicate, level, point.initial, point.network, data, like
            )
        )

    def _check_names(self, pruning: Pruning, point: Point) -> None:
        """Names of layers that the network has not are said before anything is computed."""
        method, shares = pruning.method, [pruning.amount, pruning.to]
        everywhere = {*method.layers} <= _EVERYWHERE and isinstance(method.granularity, str)
        form = (point.network.sized, id(pruning))
        if form in self._named or (everywhere and not any(isinstance(share, Mapping) for share in shares)):
            return
        try:
            check_names(method, shares, kinds_of(point.network, self.study.document.folder))
        except InputError as error:
            raise InputError(f"{point.label.partition(' replicate')[0]}: {error}") from None
        self._named[form] = pruning

    def _like(self, step: str, arm: Arm, replicate: int, level: int) -> State:
        """The state of another step whose densities a level takes: of its level, or the only one."""
        points = self._find(Selector(step), arm, replicate)
        found = [point for point in points if point.level == level] or (points if len(points) == 1 else [])
        if not found:
            raise InputError(f"like: step {step!r} has no level {level}; it ends at {points[-1].level}")
        return found[0].masked

    def _trained(
        self,
        step: ResolvedStep,
        arm: Arm,
        replicate: int,
        level: int,
        masked: State,
        start: State,
        origin: State,
        network: Network,
        trunk: State | None = None,
        previous: Point | None = None,
    ) -> Point:
        run = None
        if step.train is not None and step.data is not None:
            run = self.graph.add(
                self.make.of(arm).train(start, network, step.data, step.train, replicate, step.during)
            )
            masked = run if step.during is not None else masked
        first = run if start is origin else None
        return Point(
            step.name,
            replicate,
            level,
            arm,
            run or start,
            masked,
            start,
            origin,
            network,
            step.data,
            run,
            trunk or first,
            previous,
        )

    def _target(self, point: Point, treatment: Treatment, level: int) -> State:
        """What a treatment goes back to: the start, a moment of the run from there, or a new draw."""
        if treatment.rule.target == "fresh":
            return self.graph.add(
                self.make.of(point.arm).init(point.network, point.replicate, draw=level + 1)
            )
        if treatment.to.count == 0:
            return point.origin
        if point.trunk is None:
            raise InputError(
                f"{point.label}: cannot {treatment.name} to {treatment.to}: step "
                f"{point.step!r} comes from a network that was not trained"
            )
        return self.graph.add(self.make.snapshot(point.trunk, treatment.to))

    def _masks(self, source: MaskSource, arm: Arm, replicate: int) -> Iterator[tuple[int, State]]:
        """Masks by level."""
        for level, masked in self._plain_masks(source, arm, replicate):
            if source.control is not None and CONTROLS[source.control].touches == "mask":
                masked = self.graph.add(self.make.of(arm).control(masked, source.control, replicate, level))
            yield level, masked

    def _plain_masks(self, source: MaskSource, arm: Arm, replicate: int) -> Iterator[tuple[int, State]]:
        """Masks by level, before any control."""
        if source.over is None:
            yield from self._masks_of(source, arm, replicate)
            return
        by_level: dict[int, list[State]] = {}
        for label in self.study.factors[source.over]:
            for level, masked in self._masks_of(source, {**arm, source.over: label}, replicate):
                by_level.setdefault(level, []).append(masked)
        for level, group in by_level.items():
            yield level, self.graph.add(self.make.join(group, source.join or "all"))

    def _masks_of(self, source: MaskSource, arm: Arm, replicate: int) -> Iterator[tuple[int, State]]:
        points = self._find(source.of, arm, replicate)
        if source.pruning is None:
            several = len(points) > 1 and source.of.level is None
            yield from ((p.level, p.masked) for p in points if p.level > 0 or not several)
            return
        state = state_at(points[-1], source.of.at, self.make, self.graph)
        for level in range(1, source.levels + 1):
            share = source.pruning.share(level, source.levels)
            state = self._pruned(state, source.pruning, share, level, points[-1], arm, points[-1].data)
            yield level, state

    def _find(self, selector: Selector, arm: Arm, replicate: int) -> list[Point]:
        """The points of a step for an arm: of one level, or of all."""
        known = {**arm, **dict(selector.bindings)}
        wanted = self.study.reach[selector.step]
        names = [name for name in self.study.factors if name in wanted]
        missing = [name for name in names if name not in known]
        if missing:
            raise InputError(f"step {selector.step!r} depends on {', '.join(missing)}: bind it to a label")
        place = (selector.step, replicate, tuple(known[name] for name in names))
        points = self.points.get(place)
        if points is None:
            raise InputError(
                f"step {selector.step!r} has no states for {dict(zip(names, place[2], strict=True))}"
            )
        if selector.level is None:
            return points
        found = [point for point in points if point.level == selector.level]
        if not found:
            raise InputError(
                f"step {selector.step!r} has no level {selector.level}; it ends at {points[-1].level}"
            )
        return found
