"""A figure: its data, its drawing as SVG and PNG, and what is written under it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property
from html import escape
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import altair as alt
    import pandas as pd

# Metrics of Arial are those of Liberation Sans, which the renderer brings: text has the same width anywhere.
_FONT = "Arial, 'Liberation Sans', Helvetica, sans-serif"
_CONFIG: dict[str, Any] = {
    "font": _FONT,
    "background": "white",
    "padding": 8,
    "aria": False,
    "view": {"stroke": "#d5d5d5"},
    "axis": {
        "labelFontSize": 12,
        "titleFontSize": 13,
        "titleFontWeight": "normal",
        "titleColor": "#222",
        "labelColor": "#333",
        "gridColor": "#ececec",
        "domainColor": "#888",
        "tickColor": "#888",
        "titlePadding": 8,
    },
    "title": {"fontSize": 15, "subtitleFontSize": 12.5, "anchor": "start", "offset": 12, "color": "#111"},
    "header": {"titleFontSize": 13, "labelFontSize": 13, "labelFontWeight": "bold"},
    "legend": {
        "labelFontSize": 12.5,
        "labelLimit": 0,
        "symbolLimit": 0,
        "symbolSize": 90,
        "symbolStrokeWidth": 2,
        "symbolOpacity": 1,
        "titleFontSize": 12.5,
        "titleFontWeight": "normal",
        "columnPadding": 24,
        "rowPadding": 4,
    },
}
_ID = re.compile(r'(\bid="|url\(#|href="#)([^")]+)')


@dataclass(frozen=True)
class Figure:
    """A figure of a report.

    Args:
        name: Name of its files.
        title: What it shows; drawn above it.
        caption: How to read it.
        data: What is drawn, and nothing else.
        chart: The drawing, as an Altair chart.
        folded: Whether the page shows it only on request.
    """

    name: str
    title: str
    caption: str
    data: pd.DataFrame
    chart: alt.TopLevelMixin
    folded: bool = False

    @cached_property
    def svg(self) -> str:
        """The drawing as SVG, whose ids are of this figure only, with title and description for readers."""
        import altair as alt
        import vl_convert

        with alt.data_transformers.enable(max_rows=None):
            spec = self.chart.to_dict()
        drawn: str = vl_convert.vegalite_to_svg({**spec, "config": _CONFIG}, allowed_base_urls=[])
        drawn = _renamed(drawn, self.name)
        spoken = f"<title>{escape(self.title)}</title><desc>{escape(self.caption)}</desc>"
        return re.sub(r"^<svg ([^>]*)>", rf'<svg role="img" \g<1>>{_literal(spoken)}', drawn, count=1)

    @cached_property
    def png(self) -> bytes:
        """The drawing as PNG, at two pixels a point."""
        import vl_convert

        drawn: bytes = vl_convert.svg_to_png(self.svg, scale=2)
        return drawn

    @cached_property
    def csv(self) -> str:
        """What is drawn, as CSV."""
        written: str = self.data.to_csv(index=False, lineterminator="\n")
        return written


def _renamed(svg: str, name: str) -> str:
    """The drawing with ids that no other figure has. The renderer counts on from figure to figure."""
    numbers: dict[str, int] = {}

    def rename(found: re.Match[str]) -> str:
        return f"{found[1]}{name}-{numbers.setdefault(found[2], len(numbers) + 1)}"

    return _ID.sub(rename, svg)


def _literal(text: str) -> str:
    """Text that stands for itself in a replacement."""
    return text.replace("\\", r"\\")
