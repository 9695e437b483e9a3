"""Somebody's checkpoint as a state: kept, measured and compared like any other, without training it again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from pomona.core.errors import InputError
from pomona.core.schema import Part
from pomona.data.choice import DataChoice
from pomona.graph import tags
from pomona.graph.nodes import Graph, State
from pomona.graph.store import DEFAULT_STORE, Store
from pomona.models.choice import ModelChoice
from pomona.studies import bench
from pomona.studies.checkpoints import Contents, Source, read_checkpoint
from pomona.studies.compute import Computed, compute
from pomona.studies.engines import settle_engine
from pomona.studies.identity import VERSIONS, Identities, Network
from pomona.studies.run import check_device


@dataclass(frozen=True, eq=False)
class Imported:
    """What an import gave.

    Args:
        state: The new state, or the one that was there already with the same contents.
        computed: The store with what was measured of it.
        contents: Weights and masks as they were read, and what is to be said of them.
        measured: Numbers of the whole network by quantity; empty without data.
        failures: Measurements that could not be taken, and why.
    """

    state: State
    computed: Computed
    contents: Contents
    measured: dict[str, float | None]
    failures: tuple[str, ...]


def import_checkpoint(
    file: Path | str,
    model: ModelChoice | Mapping[str, Any] | str,
    data: DataChoice | Mapping[str, Any] | str | None = None,
    *,
    mask: Path | str | None = None,
    zeros: bool = False,
    sha256: str | None = None,
    mask_sha256: str | None = None,
    input_shape: tuple[int, int, int] | None = None,
    classes: int | None = None,
    parent: str | None = None,
    tag: str | None = None,
    store: Store | Path | str = DEFAULT_STORE,
    folder: Path | None = None,
    device: str = "cpu",
) -> Imported:
    """Bring a checkpoint into a store as a state, and measure it where data is given.

    Its key is made from the network and the bits of its weights and masks: the same contents are the same
    state, whatever file they come in.

    Args:
        file: A state_dict as ``.safetensors``, ``.pt`` or ``.pth``: plain, in the form of
            ``torch.nn.utils.prune`` (``NAME_orig`` and ``NAME_mask``), or with ``NAME_mask`` beside weights.
        model: As a study has it: ``lenet``, ``mine.py:net``, or with options.
        data: What it is for, as a study has it: gives the shapes, and accuracy, loss and effective density
            are measured on its test images.
        mask: A file of masks, zeros and ones by parameter name.
        zeros: Take weights that are exactly zero as pruned.
        sha256: Digest of the file; a torch file is a pickle and is opened only with it.
        mask_sha256: Digest of the file of masks.
        input_shape: Channels, height and width, where no data is given.
        classes: Number of classes, where no data is given.
        parent: Key of the state that it descends from, where that is in the store.
        tag: A name for it.
        store: The store or its folder.
        folder: What paths are relative to; the working folder by default.
        device: ``cpu`` or ``cuda``, for what is measured.

    Raises:
        InputError: Something cannot be read or does not fit the network; says every fault.
        StateFailure: It cannot be kept.
    """
    check_device(device)
    here = (folder or Path.cwd()).resolve()
    identities = Identities(here, {}, "auto", device)
    chosen = _read(ModelChoice, model, "model")
    examples = (
        None if data is None else _read(DataChoice, {"name": data} if isinstance(data, str) else data, "data")
    )
    network = _network(identities, chosen, examples, input_shape, classes, device)
    source = Source(str(file), sha256, None if mask is None else str(mask), mask_sha256, zeros).pinned(here)
    how = identities.init(network, 0).how
    contents = read_checkpoint(source, bench.fresh_network(how), here)
    opened = store if isinstance(store, Store) else Store(store, create=parent is None)
    parents = () if parent is None else (_done(opened, parent),)
    graph = opened.graph(parents)
    state = graph.add(_state(identities, network, contents, source, parents))
    if examples is not None:
        graph.measure(identities.evaluate(state, network, examples, "test", 0))
        graph.measure(identities.effective_density(state, network))
    computed = compute(graph, opened, workers=0, device=device, title=f"import {Path(file).name}")
    return _imported(state, computed, contents, graph, source, tag)


def _done(store: Store, parent: str) -> str:
    key = store.find(parent)
    status = store.ledger.statuses("states")[key]
    if status != "done":
        raise InputError(f"state {key[:12]} cannot be a parent: it is {status}, not done")
    return key


def _read(kind: type[Any], written: Any, where: str) -> Any:
    if isinstance(written, Part):
        return written
    try:
        return kind.model_validate(written)
    except ValidationError as error:
        faults = [fault["msg"].removeprefix("Value error, ") for fault in error.errors()]
        raise InputError(f"{where}: {'; '.join(faults)}") from None


def _network(
    identities: Identities,
    choice: ModelChoice,
    data: DataChoice | None,
    shape: tuple[int, int, int] | None,
    classes: int | None,
    device: str,
) -> Network:
    if choice.weights is not None:
        raise InputError("model: the weights come from the file that is imported: leave 'weights' out")
    if data is not None:
        if shape is not None or classes is not None:
            raise InputError("the data says what shape and how many classes there are: leave them out")
        return identities.network(choice, data)
    if shape is None or classes is None:
        raise InputError("expected data, or the shape and the number of classes of what the network sees")
    engine = settle_engine("auto", device, choice, shape, classes, identities.folder)
    return Network(choice, shape, classes, engine)


def _state(
    identities: Identities, network: Network, contents: Contents, source: Source, parents: tuple[str, ...]
) -> State:
    start = identities.init(network, 0)
    params = {name: start.params[name] for name in ("model", "input_shape", "classes")}
    # Nothing is drawn, so the distribution is none of its own.
    params["model"] = {name: value for name, value in dict(params["model"]).items() if name != "distribution"}  # type: ignore[arg-type]
    params["contents"] = contents.digest()
    how = {**start.how, "checkpoint": asdict(source), "files": source.files}
    return State("import", VERSIONS["import"], params, parents, how)


def _imported(
    state: State, computed: Computed, contents: Contents, graph: Graph, source: Source, tag: str | None
) -> Imported:
    ledger = computed.store.ledger
    reasons = {failure.node: failure.reason for failure in computed.failures}
    if state.key in reasons:
        raise InputError(f"{Path(source.file).name} was not imported: {reasons[state.key]}")
    _note(computed.store, state.key, source)
    if tag is not None:
        tags.tag(ledger, [state.key], tag)
    measured: dict[str, float | None] = {}
    failures = []
    for probe in graph.probes.values():
        if probe.states != (state.key,):
            continue
        if probe.key in reasons:
            failures.append(f"{probe.name}: {reasons[probe.key]}")
            continue
        # A class is told by the number that stands for it, not by a layer: only totals are wanted.
        sql = "SELECT quantity, value FROM measurements WHERE probe = ? AND layer = '' AND class = -1"
        measured |= {row["quantity"]: row["value"] for row in ledger.rows(sql, [probe.key])}
    return Imported(state, computed, contents, measured, tuple(failures))


def _note(store: Store, key: str, source: Source) -> None:
    """Where it came from, with the time, once for each pair of files."""
    text = f"imported from {source.file} (SHA-256 {source.sha256})"
    if source.mask is not None:
        text += f", masks from {source.mask} (SHA-256 {source.mask_sha256})"
    if source.zeros:
        text += ", zeros as pruned"
    if all(note.text != text for note in tags.notes(store.ledger, key)):
        tags.note(store.ledger, key, text)
