"""Predictions as states, ensembles of them, and the probes that read them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pomona.graph.jobs import Context, Job, Outcome, Stored
from pomona.graph.ledger import Measurement
from pomona.graph.store import Files
from pomona.measures.predictions import agreement, at_chance, averaged, chance_accuracy, kappa
from pomona.studies import bench
from pomona.training.predict import logits_of, probabilities_of

# Half precision keeps three digits of a probability: 21 bytes an image of ten classes, with its class.
_KEPT = np.float16


def predict_state(job: Job, files: Files, context: Context) -> Outcome:
    """What a network says of the test images: a class (uint8 or more), and probabilities (float16) of all."""
    (state,) = job.states
    logits = logits_of(
        bench.network(job.how),
        bench.weights_of(state, files),
        bench.examples(job.how, "test"),
        job.how["classes"],
        device=job.device,
        engine=bench.engine_of(job.params),
    )
    masks = bench.masks_of(state, files)[0]
    kept = {name: [int(mask.sum()), mask.numel()] for name, mask in masks.items()}
    # A head of 1000 outputs says of ten classes what counts; the others would fill the store.
    probabilities = probabilities_of(logits)[:, : job.how["classes"]]
    return _predictions(logits.argmax(axis=1), probabilities, kept, files)


def ensemble_state(job: Job, files: Files, context: Context) -> Outcome:
    """The mean of the members' probabilities; it keeps all weights that its members keep."""
    found = [_read(member, files) for member in job.states]
    mean = averaged([probabilities for _, probabilities in found])
    counts: Sequence[Mapping[str, Sequence[int]]] = [member.facts["kept"] for member in job.states]
    kept = {name: [sum(own[name][0] for own in counts), size] for name, (_, size) in counts[0].items()}
    return _predictions(mean.argmax(axis=1), mean, kept, files)


def measure_evaluate_ensemble(job: Job, files: Files, context: Context) -> Outcome:
    """Accuracy and loss of averaged predictions, in total and per class."""
    predicted, probabilities = _read(job.states[0], files)
    labels = bench.examples(job.how, "test").labels
    classes = int(job.how["classes"])
    count = np.bincount(labels, minlength=classes)
    correct = np.bincount(labels[predicted == labels], minlength=classes)
    chance, right, total = chance_accuracy(count), int(correct.sum()), int(count.sum())
    with np.errstate(divide="ignore"):
        loss = float(-np.log(probabilities[np.arange(total), labels].astype(np.float64)).mean())
    rows = [
        Measurement("accuracy", right / total),
        # A probability that half precision rounds to nothing has no finite loss.
        Measurement("loss", loss if np.isfinite(loss) else None),
        Measurement("chance", chance),
        Measurement("at-chance", float(at_chance(right, total, chance))),
    ]
    for class_, (own, given) in enumerate(zip(correct, count, strict=True)):
        rows.append(Measurement("class-accuracy", float(own / given) if given else None, class_=class_))
        rows.append(Measurement("class-count", float(given), class_=class_))
    return Outcome(measurements=tuple(rows))


def measure_ensemble_gain(job: Job, files: Files, context: Context) -> Outcome:
    """The accuracy of an ensemble less that of its members: of their mean, and of the best of them."""
    labels = bench.examples(job.how, "test").labels
    whole, *members = (float((_read(state, files)[0] == labels).mean()) for state in job.states)
    rows = (
        Measurement("over-mean", whole - float(np.mean(members))),
        Measurement("over-best", whole - max(members)),
        Measurement("members-mean", float(np.mean(members))),
        Measurement("best-member", max(members)),
    )
    return Outcome(measurements=rows)


def measure_agreement(job: Job, files: Files, context: Context) -> Outcome:
    """On how many test images two networks say the same class, and how far beyond chance."""
    a, b = (_read(state, files)[0] for state in job.states)
    classes = int(max(a.max(), b.max())) + 1
    rows = (
        Measurement("agreement", agreement(a, b)),
        Measurement("kappa", kappa(a, b, classes)),
    )
    return Outcome(measurements=rows)


PREDICTION_RECIPES = {"predict": predict_state, "ensemble": ensemble_state}
PREDICTION_PROBES = {
    "evaluate-ensemble": measure_evaluate_ensemble,
    "ensemble-gain": measure_ensemble_gain,
    "agreement": measure_agreement,
}


def _predictions(
    predicted: NDArray[Any], probabilities: NDArray[np.float32], kept: Mapping[str, Any], files: Files
) -> Outcome:
    small = np.min_scalar_type(int(predicted.max(initial=0)))
    arrays = {"class": predicted.astype(small), "probabilities": probabilities.astype(_KEPT)}
    return Outcome((files.write_predictions(arrays),), {"kept": dict(kept)})


def _read(state: Stored, files: Files) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Classes and probabilities of a state."""
    found = files.read_predictions(state.outputs["predictions"])
    return found["class"].astype(np.int64), found["probabilities"].astype(np.float32)
