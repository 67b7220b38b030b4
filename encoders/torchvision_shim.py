"""Importing `open_clip` past three obstacles in what it imports.

**A broken import.** `open_clip` imports torchvision. Where torch is a CPU-only build, PyPI's torchvision cannot load
its compiled operators, and its Python half then dies on one of them: `operator torchvision::nms does not exist`.
Nothing here uses those operators, so declaring the two schemas is enough for the import to pass. If torchvision loads,
or is not installed, nothing is declared.

**A slow import.** torchvision and timm import torch's compiler, each for one function. That is 1.7 of the 4.6 seconds
of CPU that the import takes, in every process. A stand-in takes the compiler's place meanwhile; what it gives asks the
real one when it is called.

**A slow import of what is not used.** open_clip imports transformers where it is installed, for text towers of Hugging
Face. Tokenizers and these towers import it when they are made.
"""

import importlib
import importlib.util
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from types import ModuleType
from typing import Any

import torch

_SCHEMAS = (
    "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
)
_declared: list[torch.library.Library] = []
"""Kept for the life of the process: when a library is garbage-collected, its schemas are removed."""

_COMPILER = "torch._dynamo"
_UTILS = "torch._dynamo.utils"
_TRANSFORMERS = "transformers"


def import_open_clip() -> ModuleType:
    """Import `open_clip`, past a torchvision whose compiled operators do not load, and without torch's compiler.

    Raises:
        RuntimeError: torchvision is broken in some other way.
    """
    with _without_compiler(), _without_transformers():
        if importlib.util.find_spec("torchvision") is not None:
            _import_torchvision()
        return importlib.import_module("open_clip")


def import_timm() -> ModuleType:
    """Import `timm`, which open_clip imports too, past the same obstacles."""
    import_open_clip()
    return importlib.import_module("timm")


def why_no_transformers() -> str:
    """Why transformers cannot be imported; an empty text if it is installed. It is not imported: that takes seconds."""
    return "" if importlib.util.find_spec(_TRANSFORMERS) is not None else f"No module named {_TRANSFORMERS!r}"


def import_text_towers() -> Any:
    """Import transformers, and let open_clip build its text towers, which was imported as if it were not there.

    Raises:
        ImportError: transformers cannot be imported.
    """
    transformers = importlib.import_module(_TRANSFORMERS)
    towers = importlib.import_module("open_clip.hf_model")
    if towers.transformers is None:
        towers = importlib.reload(towers)
        vars(importlib.import_module("open_clip.model"))["HFTextEncoder"] = towers.HFTextEncoder
    return transformers


def _import_torchvision() -> None:
    try:
        importlib.import_module("torchvision")
    except RuntimeError as error:
        if "torchvision::nms" not in str(error):
            raise
        _declare_schemas()


def _declare_schemas() -> None:
    library = torch.library.Library("torchvision", "DEF")  # type: ignore[no-untyped-call]
    for schema in _SCHEMAS:
        library.define(schema)  # type: ignore[no-untyped-call]
    _declared.append(library)
    # The failed import left sub-modules behind that would count as loaded.
    for name in [name for name in sys.modules if name.split(".")[0] == "torchvision"]:
        del sys.modules[name]


@contextmanager
def _without_transformers() -> Iterator[None]:
    """Let transformers count as not installed, unless it is imported already."""
    if _TRANSFORMERS in sys.modules:
        yield
        return
    sys.modules[_TRANSFORMERS] = None  # type: ignore[assignment]  # what Python takes for "cannot be imported"
    try:
        yield
    finally:
        del sys.modules[_TRANSFORMERS]


@contextmanager
def _without_compiler() -> Iterator[None]:
    """Keep torch's compiler from being imported, unless it is there already."""
    if _COMPILER in sys.modules:
        yield
        return
    compiler, utils = ModuleType(_COMPILER), ModuleType(_UTILS)
    vars(compiler)["disable"] = _disable
    vars(utils)["is_compile_supported"] = _is_compile_supported
    sys.modules |= {_COMPILER: compiler, _UTILS: utils}
    try:
        yield
    finally:
        del sys.modules[_COMPILER], sys.modules[_UTILS]


def _is_compile_supported(device_type: str) -> bool:
    """What torchvision asks where regions are pooled."""
    return bool(importlib.import_module(_UTILS).is_compile_supported(device_type))


def _disable(function: Callable[..., Any], *arguments: Any, **options: Any) -> Callable[..., Any]:
    """The decorator by which timm keeps code from being compiled."""

    @wraps(function)
    def uncompiled(*args: Any, **kwargs: Any) -> Any:
        return torch.compiler.disable(function, *arguments, **options)(*args, **kwargs)  # type: ignore[no-untyped-call]

    return uncompiled
