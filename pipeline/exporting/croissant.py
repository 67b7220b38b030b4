"""The description that every export comes with: Croissant 1.1, which is JSON-LD (mlcommons.org/croissant/1.1).

The store does not know under which licence its videos may be passed on, nor who made them: whoever publishes an export
adds `license`, `creator`, `citeAs` and `url`.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

import pyarrow as pa

from store.json_values import JSON

CROISSANT_FILE = "croissant.json"
_CONFORMS_TO = "http://mlcommons.org/croissant/1.1"
_OF_CROISSANT = (
    *("arrayShape", "citeAs", "column", "containedIn", "equivalentProperty", "extract", "field", "fileObject"),
    *("fileProperty", "fileSet", "format", "includes", "isArray", "isLiveDataset", "jsonPath", "key", "md5"),
    *("parentField", "path", "recordSet", "references", "regex", "repeated", "replace", "samplingRate", "separator"),
    *("source", "subField", "transform"),
)
"""Terms of Croissant's own, which the context maps to its namespace."""
_CONTEXT: dict[str, JSON] = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "sc": "https://schema.org/",
    "cr": "http://mlcommons.org/croissant/",
    "rai": "http://mlcommons.org/croissant/RAI/",
    "dct": "http://purl.org/dc/terms/",
    "conformsTo": "dct:conformsTo",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "description": {"@container": "@language"},
    "examples": {"@id": "cr:examples", "@type": "@json"},
    "name": {"@container": "@language"},
    **{term: f"cr:{term}" for term in _OF_CROISSANT},
}


@dataclass(frozen=True, slots=True)
class DescribedTable:
    """A Parquet file, whose columns are described."""

    name: str
    """Of the file."""
    about: str
    num_bytes: int
    sha256: str
    schema: pa.Schema
    """With a sentence about each column in its metadata, under `about`."""


@dataclass(frozen=True, slots=True)
class DescribedFiles:
    """Files of one kind."""

    name: str
    about: str
    pattern: str
    """Which files, as a glob relative to OUT."""
    encoding: str
    """Media type."""


Described = DescribedTable | DescribedFiles


def croissant(name: str, about: str, parts: Sequence[Described]) -> bytes:
    """The description of an export, as JSON-LD."""
    tables = [part for part in parts if isinstance(part, DescribedTable)]
    described: dict[str, JSON] = {
        "@context": _CONTEXT,
        "@type": "sc:Dataset",
        "name": name,
        "description": about,
        "conformsTo": _CONFORMS_TO,
        "distribution": [_resource(part) for part in parts],
        "recordSet": [_records(table) for table in tables],
    }
    return (json.dumps(described, indent=2, ensure_ascii=False) + "\n").encode()


def _resource(part: Described) -> dict[str, JSON]:
    its: dict[str, JSON] = {"@id": part.name, "name": part.name, "description": part.about}
    if isinstance(part, DescribedFiles):
        return {"@type": "cr:FileSet", **its, "encodingFormat": part.encoding, "includes": part.pattern}
    return {
        "@type": "cr:FileObject",
        **its,
        "contentUrl": part.name,
        "contentSize": f"{part.num_bytes} B",
        "encodingFormat": "application/x-parquet",
        "sha256": part.sha256,
    }


def _records(table: DescribedTable) -> dict[str, JSON]:
    name = table.name.rpartition(".")[0]
    fields: list[JSON] = [_field(name, table.name, column) for column in table.schema]
    return {"@type": "cr:RecordSet", "@id": name, "name": name, "description": table.about, "field": fields}


def _field(records: str, file: str, column: pa.Field) -> dict[str, JSON]:
    is_list = pa.types.is_list(column.type) or pa.types.is_fixed_size_list(column.type)
    kind = column.type.value_type if is_list else column.type
    # Croissant's sign for any length.
    shape = str(column.type.list_size) if pa.types.is_fixed_size_list(column.type) else "-1"
    return {
        "@type": "cr:Field",
        "@id": f"{records}/{column.name}",
        "name": column.name,
        "description": (column.metadata or {}).get(b"about", column.name.encode()).decode(),
        "dataType": _data_type(kind),
        **({"isArray": True, "arrayShape": shape} if is_list else {}),
        "source": {"fileObject": {"@id": file}, "extract": {"column": column.name}},
    }


def _data_type(kind: pa.DataType) -> str:
    """A type of Arrow as Croissant has it.

    >>> _data_type(pa.float32()), _data_type(pa.int64()), _data_type(pa.string()), _data_type(pa.bool_())
    ('cr:Float32', 'cr:Int64', 'sc:Text', 'sc:Boolean')
    """
    if pa.types.is_boolean(kind):
        return "sc:Boolean"
    if pa.types.is_floating(kind):
        return f"cr:Float{kind.bit_width}"
    return f"cr:Int{kind.bit_width}" if pa.types.is_integer(kind) else "sc:Text"
