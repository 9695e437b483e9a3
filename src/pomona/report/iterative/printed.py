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
from typing import NamedTuple

# Columns of Table 2 that are ensembles: of all eight methods, and of the three under ``TRIO``.
ENSEMBLES = ("all", "trio")
TRIO = ("hybrid", "fc-only", "l1-unstructured")


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


def _printed(table: str) -> list[tuple[str, str, str]]:
    text = files(__package__).joinpath("printed.csv").read_text(encoding="utf-8")
    rows = csv.DictReader(text.splitlines())
    return [(row["row"], row["column"], row["value"]) for row in rows if row["table"] == table]
