"""A way around one broken import, and nothing else.

`open_clip` imports torchvision. Where torch is a CPU-only build, PyPI's torchvision cannot load its compiled operators,
and its Python half then dies on one of them: `operator torchvision::nms does not exist`. Nothing here uses those
operators, so declaring the two schemas is enough for the import to pass. If torchvision loads, or is not installed,
this does nothing.
"""

import importlib
import importlib.util
import sys
from types import ModuleType

import torch

_SCHEMAS = (
    "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
)
_declared: list[torch.library.Library] = []
"""Kept for the life of the process: when a library is garbage-collected, its schemas are removed."""


def import_open_clip() -> ModuleType:
    """Import `open_clip`, past a torchvision whose compiled operators do not load.

    Raises:
        RuntimeError: torchvision is broken in some other way.
    """
    if importlib.util.find_spec("torchvision") is not None:
        _import_torchvision()
    return importlib.import_module("open_clip")


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
