"""Files of embeddings, as other programs write them.

    NAME.npy        one array: its rows, and their ids in another file, or in the order of the catalogue
    NAME.npz        the arrays `embeddings` and `ids`; or one array for each id, called like it
    NAME.parquet    a column of lists of numbers, and one of ids
    FOLDER          img_emb/*.npy, text_emb/*.npy, metadata/*.parquet: what clip-retrieval writes
    FOLDER          ID.npy for each video, or tars of these: what clip-video-encode writes, one row a frame

`fda export` writes all but the .npy and the tars, and the same embeddings come back, bit for bit.

They come from anybody: nothing is unpickled, and sizes are looked at before anything is read.
"""

from __future__ import annotations

import io
import re
import tarfile
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from pipeline.datasets.reading.files import read_text, require_file
from pipeline.datasets.reading.json_files import read_json
from pipeline.errors import InputError
from pipeline.imports.embeddings import Embeddings
from pipeline.run.resources import machine_memory_mib

MAX_IDS_BYTES = 2**30
_TEXT_COLUMNS = ("caption_id", "caption", "text", "id", "ids", "key")
"""Names of columns of ids; of several, the first in this order is taken."""
_VIDEO_COLUMNS = ("video_id", "id", "ids", "key", "image_path", "path")


def read_embeddings(place: Path, ids: Path | None, *, of_texts: bool) -> Embeddings:
    """Read a file or folder of embeddings.

    Args:
        place: See above.
        ids: A file with the id of each embedding, if `place` does not say them.
        of_texts: Whether texts are wanted, of a folder that has both.

    Raises:
        InputError: It is none of these, or it cannot be read.
    """
    with _errors_at(place):
        found = _read(place, of_texts=of_texts)
    if ids is None:
        return found
    return Embeddings(found.values, _ids_in(ids, of_texts=of_texts), found.source)


def _read(place: Path, *, of_texts: bool) -> Embeddings:
    if place.is_dir():
        return _in_folder(place, of_texts=of_texts)
    require_file(place)
    match place.suffix.lower():
        case ".npy":
            return Embeddings(_array(place), None, str(place))
        case ".npz":
            return _in_npz(place)
        case ".parquet":
            return _in_parquet(place, of_texts=of_texts)
        case _:
            raise InputError(f"{place}: embeddings are read from .npy, .npz and .parquet files, and folders of these")


@contextmanager
def _errors_at(place: Path) -> Iterator[None]:
    try:
        yield
    except InputError:
        raise
    except MemoryError as error:  # which a file of a few bytes can ask for
        raise InputError(f"{place} says that it has more embeddings than fit into memory") from error
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, tarfile.TarError, pa.ArrowException) as error:
        raise InputError(f"{place} cannot be read as embeddings: {error}") from error


def _array(path: Path) -> NDArray[np.generic]:
    """The array of an .npy file, mapped: a header that says more than the file has is refused."""
    require_file(path)  # a FIFO or a device would be read for ever
    found: NDArray[np.generic] = np.load(path, mmap_mode="r", allow_pickle=False)
    return found


def _table(path: Path) -> pa.Table:
    require_file(path)
    return pq.read_table(path)


def _in_npz(path: Path) -> Embeddings:
    with zipfile.ZipFile(path) as archive:
        # As unpacked, by the list of the archive: a small file may say that it holds terabytes.
        _require_memory(sum(member.file_size for member in archive.infolist()), path)
    with np.load(path, allow_pickle=False) as arrays:
        names = list(arrays)
        if "ids" not in names:
            return Embeddings([arrays[name] for name in names], names, str(path))
        others = [name for name in names if name != "ids"]
        if len(others) != 1:
            raise InputError(f"{path}: beside `ids` there must be one array, there are {', '.join(others) or 'none'}")
        return Embeddings(arrays[others[0]], _ids_of(np.atleast_1d(arrays["ids"]).tolist(), path), str(path))


def _in_parquet(path: Path, *, of_texts: bool) -> Embeddings:
    with pq.ParquetFile(path) as file:
        groups = [file.metadata.row_group(index) for index in range(file.metadata.num_row_groups)]
        _require_memory(sum(group.total_byte_size for group in groups), path)
        fields = [field for field in file.schema_arrow if _is_embedding(field.type)]
        # The times of frames, say, are a list too; but only embeddings have a length that the type says.
        fixed = [field for field in fields if pa.types.is_fixed_size_list(field.type)]
        lists = [field.name for field in (fixed if len(fixed) == 1 else fields)]
        if len(lists) != 1:
            raise InputError(
                f"{path}: one column must be lists of numbers, there are {', '.join(lists) or 'none'} (columns: "
                f"{', '.join(file.schema_arrow.names)})"
            )
        name = _id_column(file.schema_arrow.names, of_texts=of_texts)
        table = file.read([*lists, *([name] if name else [])])
    values = table[lists[0]].combine_chunks()
    widths = set(values.value_lengths().to_pylist()) if not pa.types.is_fixed_size_list(values.type) else set()
    if values.null_count or len(widths) > 1:
        raise InputError(f"{path}: the lists of column {lists[0]!r} must all be there, and of one length")
    array = values.flatten().to_numpy(zero_copy_only=False).reshape(len(values), -1)  # (num_rows, dim)
    return Embeddings(array, None if name is None else _ids_of(table[name].to_pylist(), path), str(path))


def _is_embedding(kind: pa.DataType) -> bool:
    is_list = pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)
    return bool(is_list and pa.types.is_floating(kind.value_type))


def _id_column(names: Sequence[str], *, of_texts: bool) -> str | None:
    wanted = _TEXT_COLUMNS if of_texts else _VIDEO_COLUMNS
    return next((name for name in wanted if name in names), None)


def _in_folder(folder: Path, *, of_texts: bool) -> Embeddings:
    if (folder / "metadata").is_dir():
        return _of_clip_retrieval(folder, of_texts=of_texts)
    arrays = sorted(folder.rglob("*.npy"))
    tars = sorted(folder.glob("*.tar"))
    if arrays and tars:
        raise InputError(f"{folder} has .npy files and tars: give a folder with one kind")
    if arrays:
        _require_memory(sum(path.stat().st_size for path in arrays), folder)
        values = [np.array(_array(path)) for path in arrays]  # copies: there may be more files than may be open
        return Embeddings(values, [_id_of(path, folder) for path in arrays], str(folder))
    if tars:
        _require_memory(sum(path.stat().st_size for path in tars), folder)
        named = [one for path in tars for one in _in_tar(path)]
        return Embeddings([values for _, values in named], [name for name, _ in named], str(folder))
    raise InputError(f"{folder} has neither .npy files, nor tars of them, nor metadata/ beside img_emb/ and text_emb/")


def _id_of(path: Path, folder: Path) -> str:
    """The id of a video by the name of its file; `fda export` escapes what no file may be called, with a `%`."""
    about = path.with_suffix(".json")
    if "%" in path.stem and about.is_file():
        known = read_json(about)
        if isinstance(known, dict) and isinstance(known.get("video_id"), str):
            return str(known["video_id"])
    return path.relative_to(folder).with_suffix("").as_posix()


def _of_clip_retrieval(folder: Path, *, of_texts: bool) -> Embeddings:
    kind = "text_emb" if of_texts else "img_emb"
    arrays, tables = (
        {_number(path): path for path in (folder / name).glob(pattern)}
        for name, pattern in ((kind, "*.npy"), ("metadata", "*.parquet"))
    )
    if not arrays or arrays.keys() != tables.keys():
        raise InputError(
            f"{folder} must have as many files in {kind}/ as in metadata/, with the same numbers; there are "
            f"{len(arrays)} and {len(tables)}"
        )
    _require_memory(sum(path.stat().st_size for path in arrays.values()), folder)
    values, ids = [], []
    # By number, not by name: row i of an array is of row i of the table with its number.
    for number in sorted(arrays):
        values.append(_array(arrays[number]))
        table = _table(tables[number])
        exported, column = ("caption_id", "caption") if of_texts else ("video_id", "image_path")
        column = exported if exported in table.column_names else column  # several clips may be of one file
        if column not in table.column_names:
            raise InputError(f"{tables[number]} has no column {column!r}")
        ids += _ids_of(table[column].to_pylist(), tables[number])
    return Embeddings(np.concatenate(values), ids, str(folder))


def _number(path: Path) -> int:
    """The number at the end of a file's name: `img_emb_12.npy` comes after `img_emb_9.npy`."""
    found = re.search(r"(\d+)$", path.stem)
    if found is None:
        raise InputError(f"{path}: the names of such files end with a number, as in img_emb_0.npy")
    return int(found[1])


def _in_tar(path: Path) -> Iterator[tuple[str, NDArray[np.generic]]]:
    require_file(path)
    # r: is not compressed, as clip-video-encode writes: so a tar holds no more than its size.
    with tarfile.open(path, "r:") as tar:
        for member in tar:
            name = PurePosixPath(member.name)
            if member.isfile() and name.suffix == ".npy":
                file = tar.extractfile(member)
                assert file is not None, "a plain file of a tar has contents"
                yield str(name.with_suffix("")), np.load(io.BytesIO(file.read()), allow_pickle=False)


def _ids_in(path: Path, *, of_texts: bool) -> list[str]:
    """Ids in a file: a line each (.txt), a list (.json), an array (.npy), or a column (.parquet)."""
    with _errors_at(path):
        require_file(path)
        match path.suffix.lower():
            case ".txt":
                return [line.rstrip("\r") for line in read_text(path, MAX_IDS_BYTES).removesuffix("\n").split("\n")]
            case ".json":
                ids = read_json(path)
                if not isinstance(ids, list):
                    raise InputError(f"{path} must be a list of ids, got {type(ids).__name__}")
                return _ids_of(ids, path)
            case ".npy":
                return _ids_of(np.atleast_1d(_array(path)).tolist(), path)
            case ".parquet":
                table = _table(path)
                column = _id_column(table.column_names, of_texts=of_texts)
                if column is None:
                    raise InputError(f"{path} has no column of ids (columns: {', '.join(table.column_names)})")
                return _ids_of(table[column].to_pylist(), path)
            case _:
                raise InputError(f"{path}: ids are read from .txt, .json, .npy and .parquet files")


def _ids_of(values: Sequence[object], path: Path) -> list[str]:
    """Values as ids; numbers stand for their digits."""
    for row, value in enumerate(values):
        if not isinstance(value, str | int) or value == "":
            raise InputError(f"{path}: row {row} has no id but {value!r:.50}: ids are texts or whole numbers")
    return list(map(str, values))


def _require_memory(num_bytes: int, place: Path) -> None:
    memory_mib = machine_memory_mib()
    if num_bytes >> 20 > memory_mib // 2:
        raise InputError(
            f"{place} holds {num_bytes >> 20:,} MiB of embeddings, more than half of this machine's {memory_mib:,} MiB "
            "of memory: give an .npy file, which is read piece by piece"
        )
