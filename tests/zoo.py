"""A blinded study whose labels are words that nothing else says, and the search for them in what is printed."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator
from pathlib import Path

from pomona.graph.store import Store
from pomona.studies.registration.register import register
from pomona.studies.run import Run
from pomona.studies.study import Study, parse_study

TEXT = """
study: zoo
title: The zebra beats the quokka
description: Is zebra-magnitude better than quokka-taylor?
let:
  data: {d: {name: digits, validation: 100}}
  train: {t: {optimizer: {sgd: {lr: 0.1, momentum: 0.9}}, batch_size: 64, duration: 20it}}
  method: {zed: {criterion: magnitude, granularity: weight, scope: layer}}
replicates: 3
factors:
  method:
    zebra-magnitude: zed
    quokka-taylor: {criterion: taylor, granularity: weight, scope: layer}
    okapi-norm: {criterion: {norm: 1}, granularity: channel-in, scope: layer}
  treatment: [rewind, finetune]
steps:
  dense: {init: {name: fc, options: {hidden: 13-11}}, on: d, train: t}
  ticket: {from: dense, repeat: 2, prune: {method: $method, amount: 30%}, treat: $treatment, on: d, train: t}
measure: [accuracy, class-accuracy, density, mask-distance, weight-stability, effective-density]
registration:
  blind: yes
  question: Which animal?
  sample_size: Three reach the alpha.
  exclusions: none
  missing_data: none
  transformations: none
  exploratory: none
hypotheses:
  - claim: The zebra beats the quokka.
    contrast: {a: {method: zebra-magnitude}, b: {method: quokka-taylor}, fix: {treatment: rewind}}
    of: {measure: accuracy, match: level, value: 2}
    test: {paired-t: greater}
    expect: {effect: 5pp}
"""
LABELS = ("zebra-magnitude", "quokka-taylor", "okapi-norm")
# Of labels and of what they stand for: each tells which arm is which.
WORDS = ("zebra", "quokka", "okapi", "magnitude", "taylor", "channel-in")
_URI = re.compile(r"data:[a-z+/]+;base64,([A-Za-z0-9+/=]+)")


def zoo(text: str = TEXT) -> Study:
    return parse_study(text, "zoo.yaml")


def ran_blind(folder: Path, study: Study | None = None) -> Store:
    """A store in which the study was registered and then run."""
    checked = study or zoo()
    store = Store(folder)
    register(checked, store)
    Run(checked, store).execute(workers=0)
    return store


def words_in(text: str | bytes) -> set[str]:
    """The words that are in a text, or in a file that it holds as a link."""
    plain = text if isinstance(text, str) else text.decode("utf-8", errors="replace")
    found = {word for word in WORDS if word in plain.lower()}
    for encoded in _URI.findall(plain):
        found |= words_in(base64.b64decode(encoded))
    return found


def words_below(folder: Path) -> dict[str, set[str]]:
    """The words in names and contents of the files of a folder, by file, where there are any."""
    return {name: words for name, words in _files(folder) if words}


def _files(folder: Path) -> Iterator[tuple[str, set[str]]]:
    for path in sorted(folder.rglob("*")):
        name = str(path.relative_to(folder))
        yield name, words_in(name) | (words_in(path.read_bytes()) if path.is_file() else set())
