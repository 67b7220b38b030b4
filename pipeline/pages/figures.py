"""Figures as SVG in a page: text stays text, and the colours are those of the page, dark or light. Or as files."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree

from markupsafe import Markup

from encoders.replacing import replacing

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INK, DIM, LINE = "#010101", "#020202", "#030303"
SERIES = ("#040404", "#050505", "#060606", "#070707")
"""Stand-ins, which the page's own colours replace."""
_OF_PAGE = {
    "#000000": "currentColor",
    INK: "currentColor",
    DIM: "var(--dim)",
    LINE: "var(--line)",
    **{colour: f"var(--series-{number})" for number, colour in enumerate(SERIES, 1)},
}
MARKERS = ("o", "s", "D", "^")
"""With a colour each: series can be told apart without colours."""
WIDTH = 5.0
"""Inches; 360 units of the page's pixels, which a phone shows at full size."""
_PNG_DOTS_AN_INCH = 160


@dataclass(frozen=True, slots=True)
class Colours:
    """What a figure is drawn in."""

    ink: str
    dim: str
    line: str
    series: tuple[str, ...]
    ramp: str = "cividis"
    """The colour map of heat tables: as light as the value is high, also for those who see no red or green."""


PAGE = Colours(INK, DIM, LINE, SERIES)
"""Stand-ins: see `svg_of`."""
PAPER = Colours("#1b1d21", "#5b616b", "#d9dce1", ("#0a58a8", "#c00072", "#2f7d32", "#a15c00"))
"""Of files, on white."""
_SETTINGS: dict[Any, Any] = {
    # Texts as texts, and not as outlines of letters: they can be searched and read aloud.
    "svg.fonttype": "none",
    # Ids of clip paths are hashed with a salt that is random unless it is set: other bytes in every run.
    "svg.hashsalt": "fda",
    "font.size": 11.0,
    "axes.titlesize": 11.0,
    "grid.linewidth": 0.7,
    "axes.grid": True,
    "axes.grid.axis": "x",
    "axes.axisbelow": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "legend.frameon": False,
    "figure.constrained_layout.use": True,
}
_PREFIX = re.compile(r"^\{[^}]*\}")


@contextmanager
def drawing(
    height: float, num_panels: int = 1, *, colours: Colours = PAGE, width: float = WIDTH
) -> Iterator[tuple[Figure, list[Axes]]]:
    """A figure with panels below each other, to be drawn and made into SVG, or written, within the block.

    Args:
        height: Inches.
        num_panels: At least one.
        colours: Of axes and texts; what is drawn should have them as well.
        width: Inches.
    """
    import matplotlib  # half a second, for those who draw
    from matplotlib.figure import Figure

    with matplotlib.rc_context():
        matplotlib.rcdefaults()  # the user's own style would change the bytes
        matplotlib.rcParams.update({**_SETTINGS, **_of_axes(colours)})
        figure = Figure(figsize=(width, height))
        yield figure, [figure.add_subplot(num_panels, 1, number + 1) for number in range(num_panels)]


def _of_axes(colours: Colours) -> dict[Any, Any]:
    return {
        "axes.edgecolor": colours.line,
        "axes.labelcolor": colours.ink,
        "text.color": colours.ink,
        "xtick.color": colours.dim,
        "xtick.labelcolor": colours.ink,
        "ytick.color": colours.dim,
        "ytick.labelcolor": colours.ink,
        "grid.color": colours.line,
    }


def write_figure(figure: Figure, path: Path) -> None:
    """Write a figure that was drawn in `PAPER`, as `path` with `.svg` and with `.png`: the same figure, the same bytes.

    Args:
        figure: Drawn.
        path: Without an ending.
    """
    nothing: dict[str, None] = dict.fromkeys(("Date", "Creator", "Format", "Type"))
    for ending, about in ((".svg", nothing), (".png", {"Software": None})):
        with replacing(path.with_name(path.name + ending)) as temporary:
            figure.savefig(temporary, metadata=about, facecolor="white", dpi=_PNG_DOTS_AN_INCH)


def svg_of(figure: Figure, name: str, alt: str) -> Markup:
    """A figure as an element of a page.

    Args:
        figure: Drawn with the colours of this module.
        name: Of the figure in the page, which no other figure has; letters, digits and dashes.
        alt: What it shows, for those who do not see it.
    """
    content = io.BytesIO()
    nothing: dict[str, None] = dict.fromkeys(("Date", "Creator", "Format", "Type"))
    figure.savefig(content, format="svg", metadata=nothing, transparent=True)
    root = ElementTree.fromstring(content.getvalue())
    root.remove(root[0])  # a style for all elements, and so for those of the page
    # matplotlib gives an id to everything; only those that something refers to are kept.
    used = {value.removeprefix("#") for one in root.iter() for value in _references(one)}
    for one in root.iter():
        _adapt(one, name, used)
    del root.attrib["width"], root.attrib["height"], root.attrib["version"]
    root.set("stroke-linejoin", "round")
    root.set("role", "img")
    root.set("aria-label", alt)
    return Markup(ElementTree.tostring(root, encoding="unicode"))


def _references(one: ElementTree.Element) -> Iterator[str]:
    for value in one.attrib.values():
        yield from re.findall(r"#[\w.-]+", value)


def _adapt(one: ElementTree.Element, name: str, used: set[str]) -> None:
    """Rename what the ids of two figures would clash in, and take the page's colours and font."""
    # Inside HTML there are no namespaces: `{http://www.w3.org/2000/svg}path` is `path`.
    one.tag = _PREFIX.sub("", one.tag)
    for key, value in list(one.attrib.items()):
        del one.attrib[key]
        key = _PREFIX.sub("", key)
        if key == "id":
            if value not in used:
                continue
            value = f"{name}-{value}"
        elif key in ("href", "clip-path"):
            value = value.replace("#", f"#{name}-")
        elif key == "style":
            value = re.sub(r"font-family: [^;]*;?", "", value)
            # Exactly the stand-ins of `_OF_PAGE`: a colour of another kind here is a KeyError, and a bug.
            value = re.sub(r"#(?:0[0-7]){3}", lambda found: _OF_PAGE[found[0]], value)
        elif key == "d":
            value = " ".join(value.split())
        one.set(key, value)
    if one.tag != "text" and one.text is not None and not one.text.strip():
        one.text = None
    if one.tail is not None and not one.tail.strip():
        one.tail = "\n"
