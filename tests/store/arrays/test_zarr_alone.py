"""zarr-python opens every array of a store where `fda` is installed, though nobody imports it."""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

import numpy as np
from zarr.abc.codec import ArrayBytesCodec, Codec

from store.arrays.codec_names import CodecName
from store.arrays.reading import read_array
from store.arrays.shards import ArraySpec, create_array
from store.places.local import LocalFolder
from store.schema import Shard
from tests.paths import ROOT
from tests.stores import write_shard

READ = """
import sys
import numpy as np, zarr
assert not {"fda", "store"} & sys.modules.keys()
for path in sys.argv[1:]:
    np.testing.assert_array_equal(zarr.open_array(path, mode="r")[:], np.load(path + ".npy"), err_msg=path)
"""


def declared() -> dict[str, str]:
    """Name -> class of the codecs that an installation of `fda` registers."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return dict(project["entry-points"]["zarr.codecs"])


def own_codecs(base: type[Codec]) -> Iterator[type[Codec]]:
    for kind in base.__subclasses__():
        if kind.__module__.startswith("store."):
            yield kind
        yield from own_codecs(kind)


def test_every_codec_of_the_store_is_registered_where_it_is_installed() -> None:
    kinds = list(own_codecs(ArrayBytesCodec))
    assert len(kinds) == 2
    assert declared() == {str(kind().to_dict()["name"]): f"{kind.__module__}:{kind.__name__}" for kind in kinds}


def test_zarr_alone_reads_every_kind_of_array(tmp_path: Path) -> None:
    """In a new interpreter, with the entry points of this checkout: those of the environment may be older."""
    registered = tmp_path / "installed/fda-0.dist-info"
    registered.mkdir(parents=True)
    (registered / "METADATA").write_text("Metadata-Version: 2.1\nName: fda\nVersion: 0\n")
    lines = [f"{name} = {place}" for name, place in declared().items()]
    (registered / "entry_points.txt").write_text("\n".join(["[zarr.codecs]", *lines, ""]))
    arrays = [str(write_array(tmp_path, codec)) for codec in get_args(CodecName)]
    path = os.pathsep.join([str(registered.parent), str(ROOT)])
    done = subprocess.run(
        [sys.executable, "-c", READ, *arrays],
        env=os.environ | {"PYTHONPATH": path},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")


def write_array(root: Path, codec: CodecName) -> Path:
    """An array of two rows, and beside it what `fda` reads from it."""
    is_vectors = codec == "int8-rows"
    spec = ArraySpec(
        name=codec,
        num_rows=2,
        item_shape=(8, 8, 3),
        dtype="float32" if is_vectors else "uint8",
        fill_value=np.nan if is_vectors else 0,
        shard_rows=2,
        chunk_rows=1,
        dimensions=("video", "height", "width", "colour"),
        codec=codec,
    )
    values = np.random.default_rng(0).integers(1, 255, spec.shape)
    folder = LocalFolder.at(root)
    create_array(folder, spec, {})
    write_shard(folder, spec, Shard("test", 0, 0, 2), values.astype(spec.dtype))
    np.save(root / f"{codec}.npy", read_array(folder, spec))
    return root / codec
