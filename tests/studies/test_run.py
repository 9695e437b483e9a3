"""Runs: resume, sharing, bits, failures as data."""

from __future__ import annotations

import errno
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from pomona.core.errors import InputError, StoreError, StoreWriteError
from pomona.graph.store import Store
from pomona.studies.document import parse_document
from pomona.studies.results import Results
from pomona.studies.run import Run, run
from pomona.studies.study import Study, check_study, parse_study

from .conftest import SMALL, small_study

TINY = """
study: tiny
let:
  data: {d: {name: digits}}
  train: {t: {optimizer: {sgd: {lr: 0.1}}, batch_size: 32, duration: 1ep}}
replicates: 1
factors: {method: [l1-unstructured, random-unstructured]}
steps:
  dense: {init: {name: fc, options: {hidden: 12-8}}, on: d, train: t}
  ticket: {from: dense, repeat: 2, prune: {method: $method}, treat: rewind, on: d, train: t}
measure: [accuracy, density, mask-distance]
"""


def contents(folder: Path) -> tuple[dict[str, dict[str, str]], list[tuple[object, ...]]]:
    """Digests of every state's files and all measured numbers: equal for equal bits."""
    with Store(folder, create=False) as store:
        keys = [row["key"] for row in store.ledger.rows("SELECT key FROM states WHERE status = 'done'")]
        outputs = store.ledger.outputs(keys)
        files = {key: {name: o.digest for name, o in found.items()} for key, found in outputs.items()}
        values = store.ledger.rows("SELECT * FROM measurements ORDER BY probe, quantity, layer, class")
        return files, [tuple(row) for row in values]


def in_folder(text: str, folder: Path) -> Study:
    return check_study(parse_document(text, "mine.yaml", folder))


def test_rerun_computes_nothing(small_store: Path) -> None:
    with Store(small_store) as store:
        before = len(store.ledger.rows("SELECT id FROM attempts"))
        prepared = Run(small_study(), store)
        assert prepared.missing() == 0
        prepared.execute(workers=2)
        assert prepared.tally.done == 0
        assert prepared.tally.cached == prepared.tally.states
        assert len(store.ledger.rows("SELECT id FROM attempts")) == before


def test_rerun_imports_no_torch(small_store: Path) -> None:
    code = (
        "import sys; from pomona.studies.run import run; from pomona.studies.study import parse_study;"
        f"run(parse_study({SMALL!r}), store={str(small_store)!r}, workers=2).frame();"
        "assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("workers", [1, 2])
def test_number_of_workers_changes_no_bit(workers: int, small_store: Path, tmp_path: Path) -> None:
    run(small_study(), store=tmp_path / "store", workers=workers)
    assert contents(tmp_path / "store") == contents(small_store)


def test_pruned_weights_are_zero_in_every_state(small_store: Path) -> None:
    with Store(small_store) as store:
        keys = [row["key"] for row in store.ledger.rows("SELECT key FROM states WHERE status = 'done'")]
        assert keys
        for key in keys:
            weights, (masks, _) = store.weights(key), store.masks(key)
            for name, mask in masks.items():
                assert not weights[name][~mask].any(), (key, name)


def test_masks_shrink_by_the_exact_counts(small_results: Results) -> None:
    for method, expected in (
        ("l1-unstructured", [1920, 1536, 1229, 983]),
        ("random-unstructured", [1920, 1536, 1229, 983]),
    ):
        for level, count in enumerate(expected):
            point = small_results.point(level=level, method=method, treatment="rewind")
            masks, _ = small_results.store.masks(point.state.key)
            assert int(masks["fc1.weight"].sum()) == count
            if level:
                before, _ = small_results.store.masks(
                    small_results.point(level=level - 1, method=method, treatment="rewind").state.key
                )
                assert not (masks["fc1.weight"] & ~before["fc1.weight"]).any()


def test_treatments_do_to_the_weights_what_they_say(small_results: Results) -> None:
    store = small_results.store
    for treatment in ("rewind", "late", "finetune"):
        point = small_results.point(level=2, method="l1-unstructured", treatment=treatment)
        start, (masks, _) = store.weights(point.start.key), store.masks(point.start.key)
        if treatment == "finetune":
            before = small_results.point(level=1, method="l1-unstructured", treatment=treatment)
            source = store.weights(before.state.key)
        else:
            source = store.weights(point.start.parents[1])
        for name, values in start.items():
            kept = masks.get(name, np.ones(values.shape, bool))
            assert np.array_equal(values, np.where(kept, source[name], 0)), (treatment, name)
    late = small_results.point(level=2, method="l1-unstructured", treatment="late")
    origin, snapshot = store.weights(late.origin.key), store.weights(late.start.parents[1])
    assert not np.array_equal(origin["fc1.weight"], snapshot["fc1.weight"])


def test_snapshot_asked_for_later_has_the_bits_of_one_asked_for_at_once(
    small_store: Path, tmp_path: Path
) -> None:
    without = SMALL.replace(", late: {rewind: 20it}", "")
    run(parse_study(without), store=tmp_path / "store", workers=0)
    run(small_study(), store=tmp_path / "store", workers=0)
    assert contents(tmp_path / "store") == contents(small_store)


def test_run_leaves_global_random_state_alone(tmp_path: Path) -> None:
    torch.manual_seed(3)
    np.random.seed(3)
    random.seed(3)
    states = torch.get_rng_state(), np.random.get_state()[1].copy(), random.getstate()
    run(parse_study(TINY), store=tmp_path / "store", workers=0)
    assert torch.equal(states[0], torch.get_rng_state())
    assert np.array_equal(states[1], np.random.get_state()[1])
    assert states[2] == random.getstate()


LONG = TINY.replace("duration: 1ep", "duration: 8ep").replace("12-8", "300-100")


def start(text: str, store: Path) -> subprocess.Popen[bytes]:
    code = (
        "from pomona.studies.run import run; from pomona.studies.study import parse_study;"
        f"run(parse_study({text!r}), store={str(store)!r}, workers=2)"
    )
    return subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.DEVNULL)


def killed_at_random(text: str, store: Path, kills: int) -> None:
    """Kill a run at random moments until ``kills`` have struck a running one; then let it end."""
    draw = random.Random(7)
    struck = 0
    while struck < kills:
        process = start(text, store)
        try:
            process.wait(timeout=draw.uniform(1.5, 5.0))
            if process.returncode == 0:
                break
        except subprocess.TimeoutExpired:
            process.send_signal(draw.choice([signal.SIGKILL, signal.SIGTERM, signal.SIGINT]))
            process.wait()
            struck += 1
    assert start(text, store).wait() == 0


@pytest.mark.parametrize(("engine", "duration"), [("torch", "8ep"), ("lanes", "32ep")])
def test_killed_runs_end_with_the_bits_of_an_uninterrupted_one(
    engine: str, duration: str, tmp_path: Path
) -> None:
    text = LONG.replace("8ep", duration) + f"engine: {engine}\n"
    run(parse_study(text), store=tmp_path / "whole", workers=2)
    killed_at_random(text, tmp_path / "killed", kills=3)
    assert contents(tmp_path / "killed") == contents(tmp_path / "whole")


def test_interrupted_training_goes_on_from_its_checkpoint(tmp_path: Path) -> None:
    """Interrupted in its middle, a training leaves a checkpoint, and the next run takes it up."""
    text = TINY.replace("duration: 1ep", "duration: 120ep").replace("12-8", "300-100")
    text = text.replace("repeat: 2", "repeat: 1").replace(", random-unstructured]", "]")
    whole, stopped = tmp_path / "whole", tmp_path / "stopped"
    run(parse_study(text), store=whole, workers=1)
    with Store(stopped) as store:
        prepared = Run(parse_study(text), store)

        def stop(tally: object) -> None:
            if any(0.2 < share < 0.9 for _, share in prepared.tally.workers.values()):
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            prepared.execute(workers=1, on_change=stop)
        assert list((stopped / "checkpoints").glob("*.safetensors"))
        assert store.ledger.rows("SELECT outcome FROM runs")[0]["outcome"] == "interrupted"
    run(parse_study(text), store=stopped, workers=1)
    assert contents(stopped) == contents(whole)
    assert not list((stopped / "checkpoints").glob("*.safetensors"))


def test_diverged_training_is_a_named_failure_and_stops_only_its_descendants(tmp_path: Path) -> None:
    text = TINY.replace(
        "factors: {method: [l1-unstructured, random-unstructured]}", "factors: {rate: {good: 0.1, bad: 1e30}}"
    )
    text = text.replace("lr: 0.1", "lr: $rate").replace("$method", "l1-unstructured")
    results = run(parse_study(text), store=tmp_path / "store", workers=0)
    lost = results.lost()
    assert {point.point.arm["rate"] for point in lost} == {"bad"}
    assert {point.kind for point in lost} == {"diverged"}
    assert "step" in lost[0].reason
    assert "epoch" in lost[0].reason
    summary = results.summary()
    assert set(summary[summary.rate == "bad"].failures) == {1}
    assert set(summary[summary.rate == "good"].n) == {1}
    # It would diverge again, so the next run does not try.
    with Store(tmp_path / "store") as store:
        tries = len(store.ledger.rows("SELECT id FROM attempts WHERE status = 'failed'"))
        again = Run(parse_study(text), store)
        again.execute(workers=0)
        assert again.failures
        assert len(store.ledger.rows("SELECT id FROM attempts WHERE status = 'failed'")) == tries


NET = """
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self, hidden=16):
        super().__init__()
        self.first = nn.Linear(64, hidden)
        self.drop = nn.Dropout(0.2)
        self.last = nn.Linear(hidden, 10)
    def forward(self, x):
        return self.last(self.drop(torch.relu(self.first(x.flatten(1)))))

class Broken(Net):
    def forward(self, x):
        return self.last(self.missing(x))

def fails():
    raise RuntimeError("no network today")

def load():
    import numpy as np
    draw = np.random.Generator(np.random.Philox(key=1))
    labels = np.arange(200) % 10
    images = (draw.integers(0, 40, (200, 8, 8)) + 20 * labels[:, None, None]).astype(np.uint8)
    return images[:150], labels[:150], images[150:], labels[150:]

def score(weight):
    return -weight.abs()
"""


@pytest.fixture
def mine(tmp_path: Path) -> Path:
    (tmp_path / "mine.py").write_text(NET)
    return tmp_path


def own(model: str = "mine.py:Net", data: str = "mine.py:load", method: str = "[l1-unstructured]") -> str:
    text = TINY.replace("{name: fc, options: {hidden: 12-8}}", model).replace("name: digits", f"name: {data}")
    return text.replace("[l1-unstructured, random-unstructured]", method)


def test_users_network_data_and_criterion_run(mine: Path, tmp_path: Path) -> None:
    method = "{small: {criterion: 'mine.py:score'}}"
    study = in_folder(own(method=method), mine)
    results = run(study, store=tmp_path / "a", workers=0)
    assert not results.lost()
    first, (masks, _) = (
        results.store.weights(results.point(0).state.key),
        results.store.masks(results.point(1).masked.key),
    )
    values = np.abs(first["first.weight"])
    assert values[masks["first.weight"]].max() <= values[~masks["first.weight"]].min()
    # Dropout draws from the replicate's own stream: another process gives the same bits.
    run(study, store=tmp_path / "b", workers=1)
    assert contents(tmp_path / "a") == contents(tmp_path / "b")


def test_result_state_loads_as_a_plain_module(mine: Path, tmp_path: Path) -> None:
    results = run(in_folder(own(data="digits"), mine), store=tmp_path / "store", workers=0)
    module = results.module(level=2)
    assert type(module).__name__ == "Net"
    assert not module.training
    density = float((module.first.weight != 0).float().mean())
    assert density == pytest.approx(0.64, abs=0.01)
    assert module(torch.zeros(3, 1, 8, 8)).shape == (3, 10)


@pytest.mark.parametrize(
    ("model", "kind", "message"),
    [
        ("mine.py:Broken", "bad input", r"mine\.py:\d+: in forward.*missing"),
        ("mine.py:fails", "bad input", r"mine\.py:\d+: in fails.*no network today"),
    ],
)
def test_users_network_that_fails_is_named_with_its_line(
    model: str, kind: str, message: str, mine: Path, tmp_path: Path
) -> None:
    study = in_folder(own(model=model, data="digits") + "engine: torch\n", mine)
    lost = run(study, store=tmp_path / "store", workers=0).lost()
    assert {point.kind for point in lost} == {kind}
    assert __import__("re").search(message, lost[0].reason, __import__("re").DOTALL), lost[0].reason


def test_missing_users_file_is_said_before_any_compute(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(NET)
    with pytest.raises(InputError, match=r"there is no file .*mien\.py; did you mean 'mine\.py'"):
        run(in_folder(own(model="mien.py:Net"), tmp_path), store=tmp_path / "store", workers=0)
    with pytest.raises(InputError, match="unknown name 'Nett'; did you mean 'Net'"):
        run(in_folder(own(model="mine.py:Nett"), tmp_path), store=tmp_path / "store", workers=0)


def test_pretrained_weights_are_the_start(mine: Path, tmp_path: Path) -> None:
    from safetensors.torch import save_file

    state = {
        "first.weight": torch.full((16, 64), 0.5),
        "first.bias": torch.zeros(16),
        "last.weight": torch.ones(10, 16),
        "last.bias": torch.arange(10.0),
    }
    save_file(state, mine / "start.safetensors")
    model = "{name: 'mine.py:Net', weights: {file: start.safetensors}}"
    results = run(in_folder(own(model=model, data="digits"), mine), store=tmp_path / "store", workers=0)
    start_weights = results.store.weights(results.point(0).start.key)
    for name, tensor in state.items():
        assert np.array_equal(start_weights[name], tensor.numpy())


def test_pickled_weights_need_their_digest(mine: Path, tmp_path: Path) -> None:
    torch.save({}, mine / "start.pt")
    model = "{name: 'mine.py:Net', weights: {file: start.pt}}"
    results = run(in_folder(own(model=model, data="digits"), mine), store=tmp_path / "store", workers=0)
    assert "sha256" in results.lost()[0].reason


def test_full_disk_ends_the_run_and_keeps_what_was_finished(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = tmp_path / "whole"
    run(parse_study(TINY), store=whole, workers=0)
    real, calls = os.fsync, []

    def full(handle: int) -> None:
        calls.append(handle)
        if len(calls) > 12:
            raise OSError(errno.ENOSPC, "No space left on device")
        real(handle)

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StoreWriteError, match=r"the disk is full.*What was finished is kept"):
        run(parse_study(TINY), store=tmp_path / "full", workers=0)
    monkeypatch.undo()
    done, _ = contents(tmp_path / "full")
    assert done
    assert not list((tmp_path / "full" / "tmp").iterdir())
    run(parse_study(TINY), store=tmp_path / "full", workers=0)
    assert contents(tmp_path / "full") == contents(whole)


def test_unwritable_store_is_said_before_any_compute(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match=r"the store .* cannot be written.*--store"):
        run(parse_study(TINY), store=tmp_path / "file" / "store", workers=0)


def test_unknown_device_and_workers_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="unknown device 'gpu'"):
        run(parse_study(TINY), store=tmp_path / "store", device="gpu")
    with pytest.raises(InputError, match="0 workers or more"):
        run(parse_study(TINY), store=tmp_path / "store", workers=-1)


def test_two_studies_share_their_states(tmp_path: Path) -> None:
    run(parse_study(TINY), store=tmp_path / "store", workers=0)
    other = TINY.replace("study: tiny", "study: other").replace("repeat: 2", "repeat: 3")
    with Store(tmp_path / "store") as store:
        prepared = Run(parse_study(other), store)
        prepared.execute(workers=0)
        assert prepared.tally.cached == 2 + 2 * 2 * 3
        assert prepared.tally.done == 2 * 3


def test_early_stop_ends_at_its_condition_and_is_on_record(tmp_path: Path) -> None:
    text = SMALL.replace("duration: 2ep", "duration: 20ep, stop: 'val-accuracy >= .5', check: 5it")
    text = text.replace("replicates: 2", "replicates: 1").replace("repeat: 3", "repeat: 1")
    results = run(parse_study(text), store=tmp_path / "store", workers=0)
    dense = results.point(0, step="dense")
    facts = results.store.ledger.facts([dense.state.key])[dense.state.key]
    assert facts["stopped_at"] == f"{facts['steps']}it"
    assert facts["steps"] % 5 == 0
    assert facts["checks"][-1][1] >= 0.5
    assert all(check[1] < 0.5 for check in facts["checks"][:-1])
    value = results.frame().query("quantity == 'accuracy' and part == 'validation' and step == 'dense'").value
    assert list(value) == [facts["checks"][-1][1]]


def test_workers_are_gone_after_an_interrupt(tmp_path: Path) -> None:
    process = start(LONG + "engine: torch\n", tmp_path / "store")  # other engines have threads
    deadline = time.monotonic() + 60
    children: list[int] = []
    while not children and time.monotonic() < deadline:
        listed = Path(f"/proc/{process.pid}/task/{process.pid}/children")
        children = [int(pid) for pid in listed.read_text().split()] if listed.exists() else []
        time.sleep(0.05)
    assert children
    process.send_signal(signal.SIGINT)
    process.wait(timeout=30)
    for pid in children:
        assert not Path(f"/proc/{pid}").exists() or "Z" in Path(f"/proc/{pid}/stat").read_text()


TRANSFER = """
study: transfer
let: {train: {t: {optimizer: {sgd: {lr: 0.1}}, batch_size: 32, duration: 1ep}}}
steps:
  base: {init: {name: fc, options: {hidden: 12-8}}, on: digits, train: t}
  ticket: {from: base, repeat: 2, prune: {method: l1-unstructured}, treat: rewind, on: digits, train: t}
  moved: {init: mine.py:Three, mask: {of: ticket}, map: {head: fresh}, on: mine.py:load, train: t}
  super: {weights: base@0, mask: {score: base, method: l1-unstructured, levels: 2}, train: none}
  agreed: {init: {name: fc, options: {hidden: 12-8}}, mask: {of: ticket, level: 1}, on: digits, train: none}
measure: [accuracy, density]
"""
THREE = """
from torch import nn
import numpy as np

class Three(nn.Module):
    def __init__(self, head=3):
        super().__init__()
        self.fc1, self.fc2, self.fc3 = nn.Linear(64, 12), nn.Linear(12, 8), nn.Linear(8, head)
    def forward(self, x):
        return self.fc3(self.fc2(self.fc1(x.flatten(1)).relu()).relu())

def load():
    labels = np.arange(150) % 3
    images = np.broadcast_to(80 * labels[:, None, None], (150, 8, 8)).astype(np.uint8)
    return images[:120], labels[:120], images[120:], labels[120:]
"""


def test_masks_move_to_another_task_with_a_fresh_head(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(THREE)
    results = run(in_folder(TRANSFER, tmp_path), store=tmp_path / "store", workers=0)
    assert not results.lost()
    for level in (1, 2):
        ticket, moved = (results.point(level, step=step) for step in ("ticket", "moved"))
        found, given = (results.store.masks(p.state.key)[0] for p in (ticket, moved))
        for name in ("fc1.weight", "fc2.weight"):
            assert np.array_equal(found[name], given[name])
        assert given["fc3.weight"].shape == (3, 8)
        assert given["fc3.weight"].all()
    # A mask on weights that are not trained is evaluated on the data of the state the weights come from.
    frame = results.frame().query("step == 'super' and quantity == 'accuracy'")
    assert list(frame.level) == [1, 2]
    assert results.store.masks(results.point(1, step="super").state.key)[0][
        "fc1.weight"
    ].mean() == pytest.approx(0.8, abs=0.001)


def test_mask_that_does_not_fit_names_the_layer_and_the_way_out(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(THREE)
    text = TRANSFER.replace("map: {head: fresh}", "map: {fc1: fresh}")
    results = run(in_folder(text, tmp_path), store=tmp_path / "store", workers=0)
    reasons = [lost.reason for lost in results.lost() if lost.point.step == "moved"]
    assert reasons
    assert all("fc3.weight has the shape (10, 8), the network (3, 8)" in reason for reason in reasons)
    assert "map: {fc3: fresh}" in reasons[0]


@pytest.mark.parametrize(("engine", "duration"), [("torch", "40ep"), ("lanes", "4000ep")])
def test_interrupted_run_with_momentum_and_adam_goes_on_in_a_worker(
    engine: str, duration: str, tmp_path: Path
) -> None:
    """The optimizer's state comes back from the store's file, in whichever order the file has it."""
    for name, optimizer in (("momentum", "{sgd: {lr: 0.05, momentum: 0.9}}"), ("adam", "{adam: {lr: 1e-3}}")):
        text = TINY.replace("{sgd: {lr: 0.1}}", optimizer).replace("1ep", duration) + f"engine: {engine}\n"
        text = text.replace("repeat: 2", "repeat: 1").replace(", random-unstructured]", "]")
        whole, stopped = tmp_path / name / "whole", tmp_path / name / "stopped"
        run(parse_study(text), store=whole, workers=0)
        with Store(stopped) as store:
            prepared = Run(parse_study(text), store)

            def stop(tally: object, prepared: Run = prepared) -> None:
                if any(share > 0.1 for _, share in prepared.tally.workers.values()):
                    raise KeyboardInterrupt

            with pytest.raises(KeyboardInterrupt):
                prepared.execute(workers=1, on_change=stop)
        checkpoints = list((stopped / "checkpoints").glob("*.safetensors"))
        assert len(checkpoints) == 1
        results = run(parse_study(text), store=stopped, workers=1)
        assert not results.lost()
        assert contents(stopped) == contents(whole)


def test_ctrl_c_in_this_process_leaves_a_checkpoint(tmp_path: Path) -> None:
    text = TINY.replace("duration: 1ep", "duration: 8000ep")
    with Store(tmp_path / "store") as store:
        prepared = Run(parse_study(text), store)
        before = signal.getsignal(signal.SIGINT)

        def stop(tally: object) -> None:
            if any(0.02 < share < 0.9 for _, share in prepared.tally.workers.values()):
                signal.raise_signal(signal.SIGINT)

        with pytest.raises(KeyboardInterrupt):
            prepared.execute(workers=0, on_change=stop)
        assert signal.getsignal(signal.SIGINT) is before
    assert len(list((tmp_path / "store" / "checkpoints").glob("*.safetensors"))) == 1


def test_users_data_that_changes_is_read_again_under_its_new_key(mine: Path, tmp_path: Path) -> None:
    first = run(in_folder(own(), mine), store=tmp_path / "a", workers=0)
    source = (mine / "mine.py").read_text()
    (mine / "mine.py").write_text(source.replace("20 * labels", "10 * labels"))
    second = run(in_folder(own(), mine), store=tmp_path / "a", workers=0)
    assert first.point(0).state.key != second.point(0).state.key
    fresh = run(in_folder(own(), mine), store=tmp_path / "b", workers=1)
    for level in range(3):
        key = second.point(level).state.key
        assert second.store.ledger.outputs([key]) == fresh.store.ledger.outputs([key])


def test_users_file_that_changes_while_a_run_goes_on_is_noticed(mine: Path, tmp_path: Path) -> None:
    with Store(tmp_path / "store") as store:
        prepared = Run(in_folder(own(data="digits"), mine), store)
        source = (mine / "mine.py").read_text()
        (mine / "mine.py").write_text(source.replace("torch.relu", "torch.tanh"))
        results = prepared.execute(workers=0)
        assert all("changed since the run began" in lost.reason for lost in results.lost())
        assert results.lost()
        (mine / "mine.py").write_text(source)
        assert not Run(in_folder(own(data="digits"), mine), store).execute(workers=0).lost()
        # A result is not silently put into another network.
        (mine / "mine.py").write_text(source.replace("torch.relu", "torch.tanh"))
        with pytest.raises(InputError, match="another source of its network"):
            prepared.execute(workers=0).module(level=1)


def test_bad_input_whose_cause_is_gone_is_tried_again(mine: Path, tmp_path: Path) -> None:
    source = "from pathlib import Path\n" + NET.replace("hidden=16", "hidden=None").replace(
        "super().__init__()",
        "super().__init__()\n        hidden = int(Path(__file__).with_name('width.txt').read_text())",
        1,
    )
    (mine / "mine.py").write_text(source)
    study = in_folder(own(data="digits") + "engine: torch\n", mine)
    lost = run(study, store=tmp_path / "store", workers=0).lost()
    assert lost
    assert "width.txt" in lost[0].reason
    (mine / "width.txt").write_text("12")
    assert not run(study, store=tmp_path / "store", workers=0).lost()


def test_moved_study_is_cached_and_its_modules_load(mine: Path, tmp_path: Path) -> None:
    run(in_folder(own(data="digits"), mine), store=tmp_path / "store", workers=0)
    moved = tmp_path / "moved"
    moved.mkdir()
    (mine / "mine.py").rename(moved / "mine.py")
    with Store(tmp_path / "store") as store:
        prepared = Run(in_folder(own(data="digits"), moved), store)
        assert prepared.missing() == 0
        assert type(prepared.execute(workers=0).module(level=1)).__name__ == "Net"


def test_users_code_that_exits_is_bad_input(mine: Path, tmp_path: Path) -> None:
    (mine / "mine.py").write_text(
        NET.replace('raise RuntimeError("no network today")', "raise SystemExit(3)")
    )
    text = own(model="mine.py:fails", data="digits")
    results = run(in_folder(text + "engine: torch\n", mine), store=tmp_path / "store", workers=0)
    assert {lost.kind for lost in results.lost()} == {"bad input"}
    with pytest.raises(InputError, match=r"line 9.*mine\.py:fails ends the process .*exit status 3"):
        run(in_folder(text, mine), store=tmp_path / "none", workers=0)


def test_pruning_without_training_is_evaluated(tmp_path: Path) -> None:
    text = TINY.replace(", treat: rewind, on: d, train: t}", "}")
    summary = run(parse_study(text), store=tmp_path / "store", workers=0).summary()
    assert set(summary.n) == {1}
    assert set(summary.failures) == {0}


def test_steps_on_record_are_those_that_were_taken(tmp_path: Path) -> None:
    text = SMALL.replace("duration: 2ep", "duration: 20ep, stop: 'val-accuracy >= .5', check: 5it")
    text = text.replace("replicates: 2", "replicates: 1").replace("repeat: 3", "repeat: 1")
    results = run(parse_study(text), store=tmp_path / "store", workers=0)
    key = results.point(0, step="dense").state.key
    taken = results.store.ledger.rows("SELECT work_steps FROM attempts WHERE node = ?", [key])
    assert taken[0]["work_steps"] == results.store.ledger.facts([key])[key]["steps"]


def test_checkpoint_of_another_training_is_dropped_and_the_training_starts_again(tmp_path: Path) -> None:
    run(parse_study(TINY), store=tmp_path / "whole", workers=0)
    with Store(tmp_path / "store") as store:
        prepared = Run(parse_study(TINY), store)
        dense = next(p for p in prepared.population.points if p.step == "dense")
        about = {"step": 3, "checks": [], "snapshots": {}}
        store.files.write_checkpoint(dense.state.key, {"weights/other": np.zeros(3, np.float32)}, about)
        assert not prepared.execute(workers=0).lost()
    assert contents(tmp_path / "store") == contents(tmp_path / "whole")
    assert not list((tmp_path / "store" / "checkpoints").iterdir())


ODD = """
import torch
from torch import nn

class Counting(nn.Module):
    '''Float64 weights, momentum, and a buffer that is not saved but changes every step.'''
    def __init__(self):
        super().__init__()
        self.first, self.last = nn.Linear(64, 12).double(), nn.Linear(12, 10).double()
        self.register_buffer("steps", torch.zeros(()), persistent=False)
    def forward(self, x):
        if self.training:
            self.steps += 1
        return self.last(torch.relu(self.first(x.double().flatten(1)) + torch.sin(self.steps)))

class Frozen(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.last = nn.Linear(64, 12), nn.Linear(12, 10)
        self.first.weight.requires_grad_(False)
    def forward(self, x):
        return self.last(torch.relu(self.first(x.flatten(1))))

class Half(Frozen):
    def __init__(self):
        super().__init__()
        self.register_buffer("scale", torch.ones(2, dtype=torch.bfloat16))

def noisy(weight):
    return weight.abs() * torch.rand_like(weight)
"""


def test_float64_networks_with_unsaved_buffers_resume_to_the_same_bits(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(ODD)
    text = own(model="mine.py:Counting", data="digits").replace(
        "{sgd: {lr: 0.1}}", "{sgd: {lr: 0.05, momentum: 0.9}}"
    )
    text = text.replace("duration: 1ep", "duration: 30ep").replace("repeat: 2", "repeat: 1")
    run(in_folder(text, tmp_path), store=tmp_path / "whole", workers=0)
    with Store(tmp_path / "stopped") as store:
        prepared = Run(in_folder(text, tmp_path), store)

        def stop(tally: object) -> None:
            if any(0.02 < share < 0.95 for _, share in prepared.tally.workers.values()):
                signal.raise_signal(signal.SIGINT)

        with pytest.raises(KeyboardInterrupt):
            prepared.execute(workers=0, on_change=stop)
    assert list((tmp_path / "stopped" / "checkpoints").iterdir())
    assert not run(in_folder(text, tmp_path), store=tmp_path / "stopped", workers=0).lost()
    assert contents(tmp_path / "stopped") == contents(tmp_path / "whole")


def test_frozen_layers_are_pruned_and_stay_as_they_are(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(ODD)
    results = run(
        in_folder(own(model="mine.py:Frozen", data="digits"), tmp_path), store=tmp_path / "store", workers=0
    )
    assert not results.lost()
    start_weights, end = (
        results.store.weights(key)["first.weight"]
        for key in (results.point(2).origin.key, results.point(2).state.key)
    )
    mask = results.store.masks(results.point(2).state.key)[0]["first.weight"]
    assert np.array_equal(end, np.where(mask, start_weights, 0))
    assert mask.mean() == pytest.approx(0.64, abs=0.01)


def test_networks_that_cannot_be_kept_are_refused_with_the_reason(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(ODD)
    lost = run(
        in_folder(own(model="mine.py:Half", data="digits"), tmp_path), store=tmp_path / "s", workers=0
    ).lost()
    assert {point.kind for point in lost} == {"bad input"}
    assert "scale is torch.bfloat16: expected float32" in lost[0].reason


def test_criterion_that_draws_gives_the_same_mask_again_and_leaves_the_generators(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(NET + ODD)
    study = in_folder(own(data="digits", method="{noisy: {criterion: 'mine.py:noisy'}}"), tmp_path)
    before = torch.get_rng_state()
    run(study, store=tmp_path / "a", workers=0)
    assert torch.equal(before, torch.get_rng_state())
    torch.rand(3)
    run(study, store=tmp_path / "b", workers=0)
    assert contents(tmp_path / "a") == contents(tmp_path / "b")


def test_users_data_that_does_not_fit_is_said_before_any_compute(mine: Path, tmp_path: Path) -> None:
    small = TINY.replace(
        "{d: {name: digits}}", "{d: {name: digits}, own: {name: 'mine.py:load', validation: 150}}"
    )
    text = small.replace("treat: rewind, on: d", "treat: rewind, on: own")
    with pytest.raises(InputError, match="validation"):
        run(in_folder(text, mine), store=tmp_path / "store", workers=0)
    (mine / "mine.py").write_text(NET.replace("(200, 8, 8)", "(200, 9, 9)"))
    with pytest.raises(InputError, match=r"1 problem\n.*steps\.ticket\.on"):
        run(
            in_folder(text.replace("validation: 150", "validation: 0"), mine),
            store=tmp_path / "store",
            workers=0,
        )
    assert not (tmp_path / "store" / "blobs").exists() or not list((tmp_path / "store" / "blobs").iterdir())
