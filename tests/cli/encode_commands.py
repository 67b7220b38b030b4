"""Command lines of `fda encode` with a tiny model, and what they leave."""

from __future__ import annotations

from pathlib import Path

from tests.stores import tree_digest


def encode(store: Path, config: Path, *more: str | Path, name: str = "mine") -> tuple[str | Path, ...]:
    model = ("--model", config, "--pretrained", "none", "--precision", "fp32", "--no-progress")
    return ("encode", store, "--features", name, *model, *more)


def features(store: Path, name: str = "mine") -> dict[str, str]:
    return {file: digest for file, digest in tree_digest(store).items() if f"features.zarr/{name}/" in file}
