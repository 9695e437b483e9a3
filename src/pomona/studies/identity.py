"""From resolved parts to states and probes: what enters a key, and what only execution needs.

A key holds what was asked for and nothing else. In particular it holds a seed index only where the recipe
consumes that stream, never the study, the arm, the number of workers or the machine.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pomona.core.canonical import Shared, Value
from pomona.core.errors import InputError
from pomona.core.reference import Reference, is_reference
from pomona.core.step import Step, steps_per_epoch
from pomona.data.catalogue import DatasetInfo
from pomona.data.choice import DataChoice, check_augmentation, check_validation
from pomona.data.dataset import describe
from pomona.graph.nodes import SNAPSHOT, Probe, State
from pomona.models.choice import ModelChoice
from pomona.pruning.method import Method
from pomona.pruning.stopping import parse_stop
from pomona.pruning.treatments import Treatment
from pomona.studies.engines import Engine, settle_engine
from pomona.studies.resolve import Gradual, Pruning
from pomona.studies.schema import Asked
from pomona.training.config import Train
from pomona.training.engine import engine_record

# A change of what a recipe or probe computes needs a new version here: the old keys stay true.
VERSIONS = {
    "init": 1,
    "train": 1,
    "prune": 1,
    "treat": 1,
    "control": 1,
    "transfer": 1,
    "join": 1,
    "import": 1,
    "predict": 1,
    "ensemble": 1,
    SNAPSHOT: 1,
    "evaluate": 1,
    "linear-connectivity": 1,
    "mask-distance": 2,
    "weight-stability": 1,
    "effective-density": 2,
    "mask-structure": 1,
    "rank-correlation": 1,
    "weight-magnitude": 1,
    "changed-density": 1,
    "moving-stability": 1,
    "evaluate-ensemble": 1,
    "ensemble-gain": 1,
    "agreement": 1,
}

# From one value of a stream to the next: a study has at most so many replicates, so none meets another's.
STRIDE = 100_000


@dataclass(frozen=True)
class Network:
    """A network for the data it sees.

    Args:
        choice: Which one.
        input_shape: Channels, height and width.
        classes: Number of outputs.
        engine: What trains and evaluates it.
    """

    choice: ModelChoice
    input_shape: tuple[int, int, int]
    classes: int
    engine: Engine

    @property
    def holding(self) -> Network:
        """The same network where pruned weights are held at values that are not zero: by torch."""
        if self.engine.name == "torch":
            return self
        reason = "pruned weights are held at their initial values, and the lane engine leaves them out"
        return replace(self, engine=Engine("torch", self.engine.device, self.choice.own, (reason,)))

    @property
    def title(self) -> str:
        """Its name with its options: networks of one title cost the same."""
        options = " ".join(f"{name}={value}" for name, value in sorted(self.choice.options.items()))
        return f"{self.choice.name} {options}".strip()

    @property
    def sized(self) -> str:
        """Its title with the size of its images: ``fc hidden=300 1x28x28``."""
        return f"{self.title} {'x'.join(map(str, self.input_shape))}"

    def how(self) -> dict[str, Any]:
        """What a worker needs to build it."""
        return {
            "model": self.choice.model_dump(mode="json"),
            "input_shape": list(self.input_shape),
            "classes": self.classes,
        }


class Identities:
    """Makes the states and probes of one study.

    Args:
        folder: Where paths in the study start from.
        hold: Streams that are held at a seed index; all others follow the replicate.
        asked: ``engine`` of the study.
        device: ``cpu`` or ``cuda``: the bits differ, so the engine does.
        vary: Streams that vary on their own.
    """

    def __init__(
        self, folder: Path, hold: Mapping[str, int], asked: Asked, device: str, vary: Collection[str] = ()
    ) -> None:
        self.folder = folder
        self.hold = hold
        self.asked = asked
        self.device = device
        self.vary = tuple(vary)
        self._shifts: dict[str, int] = {}
        self._varied: dict[tuple[str, ...], Identities] = {}
        self._networks: dict[str, Network] = {}
        self._infos: dict[str, DatasetInfo] = {}
        self._sources: dict[str, str] = {}
        self._made: dict[tuple[object, ...], tuple[tuple[object, ...], Shared]] = {}

    def _once(self, what: str, parts: tuple[object, ...], make: Callable[[], dict[str, Any]]) -> Shared:
        """What is the same in the keys of all replicates and levels: made once for the same parts."""
        place = (what, *map(id, parts))
        if place not in self._made:
            self._made[place] = (parts, Shared(make()))  # with the parts, so that no other gets their place
        return self._made[place][1]

    def seeds(self, replicate: int, *streams: str) -> dict[str, Value]:
        """Seed indices of the streams that a recipe consumes."""
        return {stream: self.hold.get(stream, replicate + self._shifts.get(stream, 0)) for stream in streams}

    def of(self, arm: Mapping[str, str]) -> Identities:
        """The same, with the streams that vary on their own at the values that an arm has for them.

        Value 0 is the replicate's own index, so its states are those of a study that does not vary.
        """
        labels = tuple(arm[stream] for stream in self.vary)
        if not any(label != "0" for label in labels):
            return self
        if labels not in self._varied:
            found = copy.copy(self)  # with the same caches
            found._shifts = {s: int(label) * STRIDE for s, label in zip(self.vary, labels, strict=True)}
            self._varied[labels] = found
        return self._varied[labels]

    def network(self, choice: ModelChoice, data: DataChoice) -> Network:
        """A network for a data set, with its engine.

        Raises:
            InputError: As ``settle_engine``.
        """
        info = self.info(data)
        form = f"{choice!r} {info.shape} {info.classes}"
        if form not in self._networks:
            engine = settle_engine(self.asked, self.device, choice, info.shape, info.classes, self.folder)
            self._networks[form] = Network(choice, info.shape, info.classes, engine)
        return self._networks[form]

    def info(self, data: DataChoice) -> DatasetInfo:
        """What a data set is.

        Raises:
            InputError: So much is held back for validation that nothing is left to train on, or its images
                cannot be augmented so.
        """
        if data.name not in self._infos:
            self._infos[data.name] = describe(data.name, self.folder)
        info = self._infos[data.name]
        check_validation(info.train_count, data.validation)
        if data.augment is not None:
            try:
                check_augmentation(info.shape, data.augment)
            except InputError as error:
                raise InputError(f"{data.name}: {error}") from None
        return info

    def init(self, network: Network, replicate: int, draw: int = 0) -> State:
        """The state before any training. ``draw`` numbers further draws of the same replicate."""
        if draw and network.choice.weights is not None:
            # Pretrained weights would replace everything that is drawn anew.
            network = replace(network, choice=network.choice.model_copy(update={"weights": None}))
        choice = network.choice
        model: dict[str, Value] = {"name": choice.name}
        if choice.own:
            model = {"name": choice.name.rpartition(":")[2], "source": self._source(choice.name)}
        model["options"] = dict(choice.options)
        params: dict[str, Value] = {
            "model": model,
            "input_shape": list(network.input_shape),
            "classes": network.classes,
        }
        if choice.weights is not None:
            # Nothing that is drawn remains, so neither the seed nor the distribution is consumed.
            model["weights"] = choice.weights.digest(self.folder)
        else:
            params["seeds"] = self.seeds(replicate, "init")
            if draw:
                params["draw"] = draw
            if not choice.own:
                model["distribution"] = choice.distribution
        return State("init", VERSIONS["init"], params, how=self._how(network.how()))

    def train(
        self,
        parent: State,
        network: Network,
        data: DataChoice,
        train: Train,
        replicate: int,
        during: Gradual | None = None,
    ) -> State:
        """A state trained from a parent's weights, under its masks, which may shrink on the way."""
        streams = ["order", *(["augmentation"] if data.augment is not None else []), *_drawn_by(data)]
        streams += ["dropout"] if network.engine.random else []
        streams += ["mask"] if during is not None and during.pruning.method.draws else []
        params: dict[str, Value] = {
            "train": self._once("train", (train,), train.identity),
            "data": self._once("data", (data,), lambda: self._data(data)),
            "seeds": self.seeds(replicate, *streams),
            "engine": self._once("engine", (network,), lambda: network.engine.record),
        }
        if during is not None:
            params["during"] = self._once("during", (during,), lambda: self._during(during))
        steps_an_epoch = steps_per_epoch(self.info(data).train_count - data.validation, train.batch_size)

        def how() -> dict[str, Any]:
            found = {
                **network.how(),
                "dataset": data.model_dump(mode="json"),
                "train": train.model_dump(mode="json"),
                "steps_per_epoch": steps_an_epoch,
            }
            if during is not None:
                found["method"] = during.pruning.method.model_dump(mode="json")
            return self._how(found)

        return State(
            "train",
            VERSIONS["train"],
            params,
            (parent.key,),
            how=self._once("train how", (network, data, train, during), how),
            work_steps=train.steps(steps_an_epoch),
            cost=f"train {network.sized} batch {train.batch_size} {network.engine.record['name']}",
        )

    def snapshot(self, run: State, at: Step) -> State:
        """The state of a training run at an earlier step.

        Raises:
            InputError: The run ends before.
        """
        per_epoch, train = run.how["steps_per_epoch"], Train.model_validate(run.how["train"])
        first, last = train.first(per_epoch), train.duration.iterations(per_epoch)
        if not first <= at.iterations(per_epoch) <= last:
            span = (
                f"from {train.start} to {train.duration}" if first else f"of {train.duration} ({last} steps)"
            )
            raise InputError(f"there is no step {at} in a training {span}")
        return State(SNAPSHOT, VERSIONS[SNAPSHOT], {"at": at}, (run.key,), how=run.how)

    def prune(
        self,
        parent: State,
        pruning: Pruning,
        share: Mapping[str, Value],
        replicate: int,
        level: int,
        origin: State,
        network: Network,
        data: DataChoice | None,
        like: State | None = None,
    ) -> State:
        """A state with a smaller mask, and its weights zero outside, or held where the method says so.

        Args:
            parent: What is scored and pruned.
            pruning: How.
            share: What of it, from ``Pruning.share``.
            replicate: Its seeds.
            level: Where it lies, for what is drawn anew at each level.
            origin: The untrained state of its lineage.
            network: What computes it.
            data: The data that it was trained on.
            like: The state whose densities are taken over.

        Raises:
            InputError: The criterion or a stop needs data, and there are none.
        """
        method = pruning.method
        params: dict[str, Value] = {"method": self._once("method", (method,), lambda: self._method(method))}
        params |= share
        streams = ["mask"] if method.draws else []
        how: dict[str, Any] = {"method": method.model_dump(mode="json")}
        if method.runs_network:
            params["engine"] = engine_record("torch")  # on the CPU, wherever the training is
            how |= network.how()
        if method.draws:
            params["level"] = level
        read = pruning.data or data if method.reads_data else None
        if method.reads_data:
            if read is None:
                raise InputError(
                    f"the criterion {method.named!r} reads examples: give 'prune' its data with 'on'"
                )
            params["data"] = self._once("read data", (read,), lambda: self._read_data(read))
            how |= {**network.how(), "dataset": read.model_dump(mode="json")}
            streams += _drawn_by(read)
        judged = data
        if pruning.stop:
            params["stop"] = list(pruning.stop)
        if any(parse_stop(written).least is not None for written in pruning.stop):
            if judged is None:
                raise InputError("a stop is judged on the validation part of the data, and there are none")
            params["engine"] = engine_record("torch")
            params["judged"] = self._once("validation", (judged,), lambda: self._validation_data(judged))
            how |= {**network.how(), "judged": self._how({"dataset": judged.model_dump(mode="json")})}
            streams += ["split"]
        if streams:
            params["seeds"] = self.seeds(replicate, *dict.fromkeys(streams))
        parents = (parent.key, *((origin.key,) if method.reads_initial else ()))
        parents += (like.key,) if like is not None else ()
        settled = self._once("prune how", (pruning, network, read, judged), lambda: self._how(how))
        return State("prune", VERSIONS["prune"], params, parents, how=settled, cost="prune")

    def treat(
        self,
        masked: State,
        target: State,
        treatment: Treatment,
        replicate: int = 0,
        level: int = 0,
        control: str | None = None,
        plain: State | None = None,
    ) -> State:
        """The masks of one state on what a treatment makes of another's weights.

        A control of weights is a treatment beside which stands what it is held against: ``plain``.
        """
        params: dict[str, Value] = {"treatment": treatment.name}
        if control is not None:
            params["control"] = control
        if treatment.fan != "in":
            params["fan"] = treatment.fan
        if treatment.rule.random:
            params |= {"seeds": self.seeds(replicate, "treatment"), "level": level}
        parents = (masked.key, target.key, *((plain.key,) if plain is not None else ()))
        return State("treat", VERSIONS["treat"], params, parents, cost="treat")

    def control(self, masked: State, name: str, replicate: int, level: int) -> State:
        """Other masks that share with a state's what the control keeps."""
        params: dict[str, Value] = {
            "control": name,
            "seeds": self.seeds(replicate, "control"),
            "level": level,
        }
        return State("control", VERSIONS["control"], params, (masked.key,), cost="control")

    def transfer(self, masked: State, target: State, fresh: Sequence[str]) -> State:
        """The masks of one state on the weights of another network, but for layers that stay dense."""
        params: dict[str, Value] = {"fresh": sorted(set(fresh))}
        return State("transfer", VERSIONS["transfer"], params, (masked.key, target.key))

    def join(self, masked: Sequence[State], rule: str) -> State:
        """The consensus of masks."""
        return State("join", VERSIONS["join"], {"masks": rule}, tuple(state.key for state in masked))

    def evaluate(self, state: State, network: Network, data: DataChoice, part: str, replicate: int) -> Probe:
        """Correct predictions and loss on the test or the validation part."""
        engine = self._once("engine", (network,), lambda: network.engine.record)
        params: dict[str, Value] = {"part": part, "engine": engine}
        if part == "validation":
            # The images held back stay clean, whatever becomes of those that train.
            params["data"] = self._once("validation", (data,), lambda: self._validation_data(data))
            params["seeds"] = self.seeds(replicate, "split")
        else:
            params["data"] = self._once("test data", (data,), lambda: self._test_data(data))
        cost = f"evaluate {network.title} {part} {engine['name']}"
        how = self._seeing(network, data)
        return Probe("evaluate", VERSIONS["evaluate"], params, (state.key,), how, cost)

    def predict(self, state: State, network: Network, data: DataChoice) -> State:
        """What a network says of the test images."""
        params: dict[str, Value] = {
            "engine": self._once("engine", (network,), lambda: network.engine.record),
            "data": self._once("test data", (data,), lambda: self._test_data(data)),
        }
        how = self._seeing(network, data)
        cost = f"predict {network.title} {network.engine.record['name']}"
        return State("predict", VERSIONS["predict"], params, (state.key,), how=how, cost=cost)

    def ensemble(self, members: Sequence[State]) -> State:
        """The averaged predictions of some states, in whatever order they are named."""
        keys = sorted(member.key for member in members)
        return State("ensemble", VERSIONS["ensemble"], {}, tuple(keys), cost="ensemble")

    def evaluate_ensemble(
        self, name: str, states: Sequence[State], network: Network, data: DataChoice
    ) -> Probe:
        """A measurement of predictions of test images: of an ensemble, and of its members behind it."""
        params: dict[str, Value] = {
            "data": self._once("test data", (data,), lambda: self._test_data(data)),
        }
        first, *rest = (state.key for state in states)
        how = self._seeing(network, data)
        return Probe(name, VERSIONS[name], params, (first, *sorted(rest)), how, cost=name)

    def connect(self, a: State, b: State, network: Network, data: DataChoice, points: int) -> Probe:
        """Error and loss on the test part along the line between two states, whichever is the first."""
        name = "linear-connectivity"
        engine = self._once("engine", (network,), lambda: network.engine.record)
        params: dict[str, Value] = {
            "points": points,
            "engine": engine,
            "data": self._once("test data", (data,), lambda: self._test_data(data)),
        }
        cost = f"{name} {network.title} {points} {engine['name']}"
        ends = sorted((a.key, b.key))
        return Probe(name, VERSIONS[name], params, tuple(ends), self._seeing(network, data), cost)

    def _seeing(self, network: Network, data: DataChoice) -> Shared:
        """What execution needs of a network that sees data."""
        dataset = {"dataset": data.model_dump(mode="json")}
        return self._once("seeing", (network, data), lambda: self._how({**network.how(), **dataset}))

    def compare(self, name: str, *states: State) -> Probe:
        """A measurement of weights and masks, which needs nothing but the states."""
        return Probe(name, VERSIONS[name], {}, tuple(state.key for state in states), cost=name)

    def effective_density(self, state: State, network: Network) -> Probe:
        """Weights on a live path from input to output; a bias that is not zero makes its unit live."""
        name = "effective-density"
        cost = f"{name} {network.title}"
        return Probe(name, VERSIONS[name], {}, (state.key,), self._how(network.how()), cost)

    def _method(self, method: Method) -> dict[str, Value]:
        identity = method.identity()
        if method.user_criterion is not None:
            name = method.user_criterion
            identity["criterion"] = {"name": name.rpartition(":")[2], "source": self._source(name)}
        return identity

    def _during(self, during: Gradual) -> dict[str, Value]:
        return {
            "method": self._method(during.pruning.method),
            **during.pruning.share(1, 1),
            "schedule": during.pruning.schedule,
            "begin": during.begin,
            "end": during.end,
            "every": during.every,
        }

    def _test_data(self, data: DataChoice) -> dict[str, Value]:
        """Without what is said of the training images, which are not seen in a test."""
        return {n: value for n, value in self._read_data(data).items() if n not in ("validation", "corrupt")}

    def _validation_data(self, data: DataChoice) -> dict[str, Value]:
        return {name: value for name, value in self._read_data(data).items() if name != "corrupt"}

    def _read_data(self, data: DataChoice) -> dict[str, Value]:
        """Without the augmentation: only what trains is augmented."""
        return {name: value for name, value in self._data(data).items() if name != "augment"}

    def _data(self, data: DataChoice) -> dict[str, Value]:
        info = self.info(data)
        mean, sd = data.pixel_mean_sd(info)
        found: dict[str, Value] = {
            "fingerprint": info.fingerprint,
            "validation": data.validation,
            "mean": list(mean),
            "sd": list(sd),
        }
        if is_reference(data.name):
            found["source"] = self._source(data.name)
        if data.corrupt is not None:
            found["corrupt"] = data.corrupt.identity()
        if data.augment is not None:
            found["augment"] = data.augment.identity()
        return found

    def _source(self, name: str) -> str:
        """Digest of a user's source, read once a study."""
        if name not in self._sources:
            self._sources[name] = Reference.parse(name, self.folder).digest()
        return self._sources[name]

    def _how(self, how: Mapping[str, Any]) -> dict[str, Any]:
        """What execution needs, with what the user's files must still be when they are read."""
        named = [how.get(part, {}).get("name", "") for part in ("model", "dataset")]
        named.append(how.get("method", {}).get("criterion", ""))
        sources = {name: self._source(name) for name in named if is_reference(name)}
        found = {**how, "folder": str(self.folder), "sources": sources}
        if "dataset" in how:
            found["fingerprint"] = self._infos[how["dataset"]["name"]].fingerprint
        return found


def _drawn_by(data: DataChoice) -> list[str]:
    """Streams that the training part of a data set consumes, whoever reads it."""
    return [*(["split"] if data.validation else []), *(data.corrupt.streams if data.corrupt else ())]
