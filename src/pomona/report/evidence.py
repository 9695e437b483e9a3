"""What a report is made from: the numbers of a study, each read once."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any

from pomona.data.choice import DataChoice
from pomona.data.dataset import describe
from pomona.report.arms import Arm, Place, shown_arms
from pomona.report.findings import Findings, find
from pomona.studies.results import Results
from pomona.studies.variation import Sources, sources_of_variation

if TYPE_CHECKING:
    import pandas as pd

    from pomona.data.catalogue import DatasetInfo


class Evidence:
    """The results of a study and the arms that are shown of them.

    Args:
        results: What a store holds for the study.
    """

    def __init__(self, results: Results) -> None:
        self.results = results
        self.study = results.study
        self.population = results.population
        self.arms = shown_arms(results.population)
        self._by_place = {arm.place: arm for arm in self.arms}
        self._summaries: dict[tuple[str, str], pd.DataFrame] = {}

    @cached_property
    def frame(self) -> pd.DataFrame:
        """Every number of the shown arms, one a row, with the name of its arm first."""
        return self._named(self.results.frame())

    @cached_property
    def distances(self) -> pd.DataFrame:
        """Mask distances of pairs of arms by layer."""
        return self.results.distances()

    @cached_property
    def findings(self) -> Findings:
        """What was found of the hypotheses."""
        return find(self.results)

    def summary(self, quantity: str = "accuracy", layer: str = "") -> pd.DataFrame:
        """Means and intervals of the shown arms, with the name of the arm first."""
        if (quantity, layer) not in self._summaries:
            self._summaries[quantity, layer] = self._named(self.results.summary(quantity, layer=layer))
        return self._summaries[quantity, layer]

    @cached_property
    def sources(self) -> list[Sources]:
        """Sources of variation of every outcome that is asked for; none under codes, for they name arms."""
        return [] if self.blinded else sources_of_variation(self.results)

    @property
    def measured(self) -> bool:
        """Whether there is any measurement; the density of a mask is known without one."""
        return bool((self.frame["quantity"] != "density").any())

    @property
    def has_accuracy(self) -> bool:
        """Whether there is any test accuracy."""
        return bool((self.summary()["n"] > 0).any())

    @property
    def blinded(self) -> bool:
        """Whether arms stand under codes."""
        return self.results.blind is not None

    @property
    def one_setting(self) -> bool:
        """Whether to name networks and data: not where they differ between arms under codes."""
        points = self.population.points
        settings = {(repr(point.network.choice), point.data) for point in points if point.data is not None}
        return not self.blinded or len(settings) <= 1

    @property
    def replicates(self) -> int:
        """Replicates that the study asks for."""
        return self.study.spec.replicates

    @cached_property
    def data(self) -> dict[DataChoice, DatasetInfo]:
        """The data sets of the study and what each is."""
        choices = [point.data for point in self.population.points if point.data is not None]
        folder = self.study.document.folder
        return {choice: describe(choice.name, folder) for choice in dict.fromkeys(choices)}

    @property
    def accuracy_digits(self) -> int:
        """Decimals of an accuracy in percent that its number of test images supports."""
        smallest = min((info.test_count for info in self.data.values()), default=0)
        return 2 if smallest >= 1000 else 1

    def _named(self, table: pd.DataFrame) -> pd.DataFrame:
        """The rows of the shown arms."""
        names = [self._name(row) for row in zip(*self._places(table), strict=True)]
        table = table.assign(arm=names)
        return table[table["arm"] != ""].reset_index(drop=True)

    def _places(self, table: pd.DataFrame) -> list[Any]:
        return [table["step"], *(table[factor] for factor in self.results.factors)]

    def _name(self, row: tuple[str, ...]) -> str:
        step, *labels = row
        reach = self.study.reach[step]
        own = [x for f, x in zip(self.results.factors, labels, strict=True) if f in reach]
        place: Place = (step, tuple(own))
        arm: Arm | None = self._by_place.get(place)
        return arm.name if arm else ""
