"""Draw the results of a run: `python figure.py RESULTS.json PICTURE.png`, in the peers' environment."""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path
from typing import Any

DECODING = "decoding 12 frames, CPU time: "
OURS, CALLS = "fda", "libav's calls alone"


def draw(results: dict[str, Any], picture: Path) -> None:
    """One panel for decoding, method by class; one with the ratios of all other tables."""
    matplotlib: Any = importlib.import_module("matplotlib")
    matplotlib.use("Agg")
    plt: Any = importlib.import_module("matplotlib.pyplot")
    tables = [table for part in results["parts"].values() for table in part["tables"]]
    decoding = [table for table in tables if table["title"].startswith(DECODING)]
    others = [table for table in tables if table not in decoding]
    num_lines = sum(len(table["rows"]) + 1 for table in others)
    heights = [4.5 if decoding else 0.1, max(0.22 * num_lines, 0.1)]
    figure, (top, bottom) = plt.subplots(
        2, 1, figsize=(12, sum(heights) + 1.5), height_ratios=heights, layout="constrained"
    )
    _draw_decoding(top, decoding, results["targets"])
    _draw_others(bottom, others)
    machine = results["machine"]
    figure.suptitle(f"Speed relative to a named peer, one interleaved run; {machine['cores']} cores, {machine['cpu']}")
    figure.savefig(picture, dpi=110)


def _draw_decoding(axes: Any, tables: list[dict[str, Any]], targets: dict[str, dict[str, float]]) -> None:
    if not tables:
        axes.set_axis_off()
        return
    names = [table["title"].removeprefix(DECODING) for table in tables]
    methods = [row["method"] for row in tables[0]["rows"]]
    markers = dict(zip(methods, "s.v^<>dx_o", strict=False))
    for method in methods:
        ratios = [next(row["ratio"] for row in table["rows"] if row["method"] == method) for table in tables]
        points = [(place, ratio) for place, ratio in enumerate(ratios) if ratio is not None]
        ours = method == OURS
        axes.plot(
            [place for place, _ in points],
            [ratio for _, ratio in points],
            marker=markers.get(method, "o"),
            markersize=11 if ours else 6,
            linestyle="none",
            color="crimson" if ours else None,
            zorder=3 if ours else 2,
            label=method,
        )
    for place, (name, table) in enumerate(zip(names, tables, strict=True)):
        others = [row for row in table["rows"] if row["method"] not in (OURS, CALLS)]
        peers = [row["ratio"] for row in others if row["ratio"] is not None]
        target = max(targets["to_fastest_exact_peer"].get(name, 1.0) * max(peers), targets["to_opencv"].get(name, 0.0))
        label = "target of fda" if place == 0 else None
        axes.hlines(target, place - 0.35, place + 0.35, color="black", linewidth=1.5, label=label)
        num_wrong = sum(row["note"].startswith("wrong") for row in table["rows"])
        if num_wrong:
            axes.annotate(
                f"{num_wrong} wrong", (place, 1.0), xycoords=("data", "axes fraction"), ha="center", va="top", size=8
            )
    axes.set_yscale("log")
    axes.set_yticks([0.25, 0.5, 1, 2, 4, 8], ["0.25x", "0.5x", "1x", "2x", "4x", "8x"])
    axes.minorticks_off()
    axes.set_xticks(range(len(names)), names)
    axes.grid(axis="y", alpha=0.3)
    axes.set_title(
        "Decoding 12 frames, CPU time, against OpenCV reading sequentially; methods with wrong frames left out",
        size=10,
    )
    axes.legend(ncols=1, loc="upper left", bbox_to_anchor=(1.0, 1.0), fontsize=8)


def _draw_others(axes: Any, tables: list[dict[str, Any]]) -> None:
    labels: list[str] = []
    values: list[float | None] = []
    colours: list[str] = []
    for table in tables:
        labels.append(table["title"])
        values.append(None)
        colours.append("none")
        for row in table["rows"]:
            labels.append(f"    {row['method']}{'' if row['ratio'] is not None else ': ' + row['note']}")
            values.append(row["ratio"])
            colours.append("crimson" if row["method"].startswith(OURS) else "silver")
    if not labels:
        axes.set_axis_off()
        return
    places = range(len(labels))
    axes.barh(places, [value or 0 for value in values], color=colours)
    for place, value in zip(places, values, strict=True):
        if value is not None:
            axes.annotate(f" {value:.2f}x", (value, place), va="center", size=7)
    axes.set_xscale("log")
    axes.axvline(1, color="black", linewidth=0.8)
    axes.set_yticks(places, labels, size=7)
    for label, value in zip(axes.get_yticklabels(), values, strict=True):
        label.set_fontweight("bold" if value is None and not label.get_text().startswith(" ") else "normal")
    axes.invert_yaxis()
    axes.margins(y=0.005)


if __name__ == "__main__":
    draw(json.loads(Path(sys.argv[1]).read_text()), Path(sys.argv[2]))
