"""The numbers that the paper prints, to be drawn beside ours. They are read from ``printed.csv``.

Source:
    Paganini & Forde 2020, "On iterative neural network pruning, reinitialization, and the similarity of
    masks", arXiv:2001.05050, Tables 1 and 2. The file has the numbers as printed: thousands of parameters
    in Table 1, percent in Table 2.
"""

from __future__ import annotations

import csv
from decimal import Decimal
from importlib.resources import files
from typing import TYPE_CHECKING, NamedTuple

from pomona.report.iterative.selection import UNSTRUCTURED

if TYPE_CHECKING:
    from pomona.report.iterative.selection import Selection
    from pomona.studies.points import Point

# Columns of Table 2 that are ensembles: of all eight methods, and of the three under ``TRIO``.
ENSEMBLES = ("all", "trio")
TRIO = ("hybrid", "fc-only", UNSTRUCTURED)
# What Table 2 is of, and how long each of its levels was trained.
NETWORK, DATA, DURATION = "lenet", "mnist", "30ep"


class Parameters(NamedTuple):
    """A number of Table 1.

    Args:
        network: ``lenet``, ``alexnet`` or ``vgg-11``.
        pruned: Share of the parameters that is pruned.
        thousands: Parameters that are left, in thousands; rounded as printed.
    """

    network: str
    pruned: float
    thousands: float


class Accuracy(NamedTuple):
    """A number of Table 2: the mean test accuracy of LeNet on MNIST.

    Args:
        level: Pruning iteration, from 1.
        column: Label of a method as the study of the library has it, or one of ``ENSEMBLES``.
        accuracy: As a share; printed in percent with one decimal.
    """

    level: int
    column: str
    accuracy: float


def table_1() -> list[Parameters]:
    """Parameters left at each pruning fraction, network by network."""
    return [Parameters(row, float(column), float(value)) for row, column, value in _printed("1")]


def table_2() -> list[Accuracy]:
    """Accuracies by level, in each level in the order of the paper's columns."""
    # Divided as it is written: 45.8 / 100 in binary is not the number 0.458.
    return [Accuracy(int(row), column, float(Decimal(value) / 100)) for row, column, value in _printed("2")]


def comparable(selection: Selection) -> bool:
    """Whether Table 2 is of the network and the data of a study, so that it may stand beside its numbers."""
    points = _reference(selection)
    of_data = all(p.data is not None and (p.data.name, p.data.corrupt) == (DATA, None) for p in points)
    return bool(points) and of_data and all(p.network.choice.name == NETWORK for p in points)


def trained_as_long(selection: Selection) -> bool:
    """Whether every level was trained for as long as those of Table 2."""
    runs = [point.run for point in _reference(selection)]
    return all(run is not None and run.how["train"]["duration"] == DURATION for run in runs)


def augmented(selection: Selection) -> bool:
    """Whether images are shifted or mirrored in training, as by the paper's code and not by its text."""
    return any(p.data is not None and p.data.augment is not None for p in _reference(selection))


def _reference(selection: Selection) -> list[Point]:
    """The networks whose numbers stand beside the printed ones."""
    lineages = [line for method in selection.methods for line in selection.lineages(method).values()]
    return [point for line in lineages for point in line]


def _printed(table: str) -> list[tuple[str, str, str]]:
    text = files(__package__).joinpath("printed.csv").read_text(encoding="utf-8")
    rows = csv.DictReader(text.splitlines())
    return [(row["row"], row["column"], row["value"]) for row in rows if row["table"] == table]
