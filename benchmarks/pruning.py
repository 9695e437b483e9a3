"""Pruning against torch.nn.utils.prune: time, memory, and what ten rounds leave behind.

    python benchmarks/pruning.py [--repeats 3] [--json pruning.json]

Every measurement is a process of its own with one thread; the sides take turns. The memory of a side is the
rise of its peak resident size above what the network itself takes.

global    20 % of the weights of VGG-11 (132.9 million) by magnitude, all layers together: ours with
          ``prune_module`` and ``mask_module``, torch's with ``global_unstructured``.
rounds    Ten global rounds of 20 % on LeNet, saved: masks that are held at the end, and the bytes that are
          saved for them.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

SIDES = ("ours", "torch")


def main() -> None:
    """Run all measurements and print them."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--measure", nargs=2, metavar=("WHAT", "SIDE"), help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.measure:
        print(json.dumps(MEASURES[asked.measure[0]](asked.measure[1])))
        return
    found: dict[str, dict[str, list[dict[str, float]]]] = {what: {s: [] for s in SIDES} for what in MEASURES}
    for _ in range(asked.repeats):
        for what, side in ((what, side) for what in MEASURES for side in SIDES):
            found[what][side].append(_in_a_process(what, side))
    _print(found)
    if asked.json:
        asked.json.write_text(json.dumps(found, indent=1))


def _in_a_process(what: str, side: str) -> dict[str, float]:
    command = [sys.executable, __file__, "--measure", what, side]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    answer = subprocess.run(command, env=environment, stdout=subprocess.PIPE, check=True, text=True)
    measured: dict[str, float] = json.loads(answer.stdout)
    return measured


def _print(found: dict[str, dict[str, list[dict[str, float]]]]) -> None:
    for what, sides in found.items():
        print(what)
        for figure in sides["ours"][0]:
            ours, torchs = ([run[figure] for run in sides[side]] for side in SIDES)
            ratios = [t / o for o, t in zip(ours, torchs, strict=True)]
            ratio = f"{statistics.median(ratios):.2f} ({min(ratios):.2f}-{max(ratios):.2f})"
            medians = f"ours {statistics.median(ours):14,.2f}  torch {statistics.median(torchs):14,.2f}"
            print(f"  {figure:24} {medians}  torch / ours {ratio}")


def global_magnitude(side: str) -> dict[str, float]:
    """One global prune of VGG-11."""
    import torch
    from torch.nn.utils import prune as torch_prune

    from pomona import pruning

    module = _vgg_11()
    before = _peak_bytes()
    begin = time.perf_counter()
    if side == "ours":
        pruned = pruning.prune_module(module, "global-unstructured", amount=0.2)
        pruning.mask_module(module, pruned.masks)
    else:
        layers = [
            (m, "weight") for m in module.modules() if isinstance(m, (torch.nn.Conv2d, torch.nn.Linear))
        ]
        torch_prune.global_unstructured(layers, torch_prune.L1Unstructured, amount=0.2)
    seconds = time.perf_counter() - begin
    return {"seconds": seconds, "peak memory, MB": (_peak_bytes() - before) / 1e6}


def ten_rounds(side: str) -> dict[str, float]:
    """Ten rounds on LeNet, and what is saved of them."""
    import torch
    from torch.nn.utils import prune as torch_prune

    from pomona import pruning
    from pomona.graph.store import Store
    from pomona.pruning.kinds import layer_kinds

    module = _lenet()
    plain = _saved_bytes(module.state_dict())
    masks: dict[str, torch.Tensor] = {}
    for _ in range(10):
        if side == "ours":
            pruned = pruning.prune_module(module, "global-unstructured", amount=0.2, masks=masks)
            masks = pruned.masks
            pruning.mask_module(module, masks)
        else:
            layers = [(m, "weight") for m in module.modules() if hasattr(m, "weight")]
            torch_prune.global_unstructured(layers, torch_prune.L1Unstructured, amount=0.2)
    if side == "ours":
        with tempfile.TemporaryDirectory() as folder:
            files = Store(folder).files
            kinds = layer_kinds(module)
            arrays = {name: mask.numpy() for name, mask in masks.items()}
            mask_bytes = files.write_masks(arrays, kinds).size_bytes
        held = len(masks)
    else:
        # What a pickled module keeps: the container of every parameter has all of its masks.
        buffer = io.BytesIO()
        torch.save(module, buffer)
        mask_bytes = buffer.tell() - plain
        held = sum(
            len(getattr(hook, "_pruning_methods", (hook,)))
            for m in module.modules()
            for hook in m._forward_pre_hooks.values()
        )
    weights = sum(p.numel() for name, p in module.named_parameters() if "weight" in name)
    return {"masks held": held, "bytes for masks": mask_bytes, "bits a weight": 8 * mask_bytes / weights}


def _vgg_11() -> object:
    """VGG-11 with a head of 1,000 classes: 132.9 million parameters."""
    from torch import nn

    widths = [64, 128, 256, 256, 512, 512, 512, 512]
    layers: list[nn.Module] = [
        nn.Conv2d(before, width, 3) for before, width in zip([3, *widths[:-1]], widths, strict=True)
    ]
    return nn.Sequential(*layers, nn.Linear(25088, 4096), nn.Linear(4096, 4096), nn.Linear(4096, 1000))


def _lenet() -> object:
    """The LeNet of the similarity paper."""
    from torch import nn

    return nn.Sequential(
        nn.Conv2d(1, 6, 3), nn.Conv2d(6, 16, 3), nn.Linear(400, 120), nn.Linear(120, 84), nn.Linear(84, 10)
    )


def _saved_bytes(what: object) -> int:
    import torch

    buffer = io.BytesIO()
    torch.save(what, buffer)
    return buffer.tell()


def _peak_bytes() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


MEASURES = {"global": global_magnitude, "rounds": ten_rounds}


if __name__ == "__main__":
    main()
