"""Importing `open_clip` past obstacles in what it imports.

**A broken import.** `open_clip` imports torchvision. Where torch is a CPU-only build, PyPI's torchvision cannot load
its compiled operators, and its Python half then dies on one of them: `operator torchvision::nms does not exist`.
Nothing here uses those operators, so declaring the two schemas is enough for the import to pass. If torchvision loads,
or is not installed, nothing is declared.

**A slow import.** torchvision and timm import torch's compiler, each for one function. That is 1.7 of the 4.6 seconds
of CPU that the import takes, in every process. A stand-in takes the compiler's place meanwhile; what it gives asks the
real one when it is called.

**Slow imports of what is not used.** A model of CLIP needs none of these, which take as long as torch itself does:
transformers, for text towers of Hugging Face; timm, for its vision towers; torchvision's models and data sets, for
nothing; the hub's whole client, to push models there. They are imported when they are asked for: when such a tower is
made, or when somebody else in this process names them.
"""

import importlib
import importlib.util
import sys
import threading
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

_one_at_a_time = threading.RLock()
"""While it is held, stand-ins may be in `sys.modules`."""
_COMPILER = "torch._dynamo"
_UTILS = "torch._dynamo.utils"
_TRANSFORMERS, _TIMM = "transformers", "timm"
_LATER = ("datasets", "models")
"""Of torchvision: imported when they are first named."""
_PUSHING, _PUSHERS = "open_clip.push_to_hf_hub", ("push_pretrained_to_hf_hub", "push_to_hf_hub")


def import_open_clip() -> ModuleType:
    """Import `open_clip`, past a torchvision whose compiled operators do not load, and without torch's compiler.

    Raises:
        RuntimeError: torchvision is broken in some other way.
    """
    with _one_at_a_time, _without_compiler(), _absent(_TRANSFORMERS), _absent(_TIMM), _without_pushing():
        if importlib.util.find_spec("torchvision") is not None:
            _import_torchvision()
        open_clip = importlib.import_module("open_clip")
        if sys.modules["open_clip.timm_model"].timm is None:  # it was imported as if it were not there
            vars(sys.modules["open_clip.model"])["TimmModel"] = _make_timm_model
    return open_clip


def import_timm() -> ModuleType:
    """Import `timm`, past the same obstacles, and let open_clip make its towers."""
    with _one_at_a_time:  # threads that build models ask for it while they work
        towers = sys.modules.get("open_clip.timm_model")
        if towers is not None and towers.timm is not None:
            return sys.modules[_TIMM]
        import_open_clip()
        if _TIMM not in sys.modules:
            with _without_compiler():
                importlib.import_module(_TIMM)
        towers = sys.modules["open_clip.timm_model"]
        if towers.timm is None:
            towers = importlib.reload(towers)
            vars(sys.modules["open_clip.model"])["TimmModel"] = towers.TimmModel
        return sys.modules[_TIMM]


def _make_timm_model(*arguments: Any, **options: Any) -> Any:
    """What stands for open_clip's class until there is one."""
    import_timm()
    return sys.modules["open_clip.timm_model"].TimmModel(*arguments, **options)


INSTALL_TRANSFORMERS = "pip install -e '.[transformers]' in fda's folder"
"""The remedy where it is missing: as `store.remedies.install_extra`, which cannot be imported here."""


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
        _import_part_of_torchvision()
    except RuntimeError as error:
        if "torchvision::nms" not in str(error):
            raise
        _declare_schemas()
        _import_part_of_torchvision()


def _import_part_of_torchvision() -> None:
    """Without what is in `_LATER`, unless it is imported already."""
    is_there = "torchvision" in sys.modules
    # torchvision imports these from itself, and takes what is in `sys.modules`: empty modules, which are then
    # forgotten.
    later = {} if is_there else {f"torchvision.{name}": ModuleType(name) for name in _LATER}
    sys.modules |= later
    try:
        torchvision = importlib.import_module("torchvision")
    finally:
        for name in later:
            del sys.modules[name]
    if not is_there:
        for name in _LATER:
            del vars(torchvision)[name]
        vars(torchvision)["__getattr__"] = _attribute_of_torchvision


def _attribute_of_torchvision(name: str) -> Any:
    """What Python calls for an attribute of torchvision that is not there."""
    if name in _LATER:
        with _without_compiler():
            return importlib.import_module(f"torchvision.{name}")
    raise AttributeError(f"module 'torchvision' has no attribute {name!r}")


def _declare_schemas() -> None:
    library = torch.library.Library("torchvision", "DEF")  # type: ignore[no-untyped-call]
    for schema in _SCHEMAS:
        library.define(schema)  # type: ignore[no-untyped-call]
    _declared.append(library)
    # The failed import left sub-modules behind that would count as loaded.
    for name in [name for name in sys.modules if name.split(".")[0] == "torchvision"]:
        del sys.modules[name]


@contextmanager
def _absent(name: str) -> Iterator[None]:
    """Let a package count as not installed, unless it is imported already."""
    if name in sys.modules:
        yield
        return
    sys.modules[name] = None  # type: ignore[assignment]  # what Python takes for "cannot be imported"
    try:
        yield
    finally:
        del sys.modules[name]


@contextmanager
def _without_pushing() -> Iterator[None]:
    """Let the module that imports the hub's whole client be imported when one of its functions is called."""
    if "open_clip" in sys.modules:
        yield
        return
    stand_in = ModuleType(_PUSHING)
    # open_clip imports these two names from it, and calls neither.
    vars(stand_in).update({name: _pusher(name) for name in _PUSHERS})
    sys.modules[_PUSHING] = stand_in
    try:
        yield
    finally:
        del sys.modules[_PUSHING]


def _pusher(name: str) -> Callable[..., Any]:
    def push(*arguments: Any, **options: Any) -> Any:
        real = importlib.import_module(_PUSHING)
        vars(sys.modules["open_clip"]).update({one: getattr(real, one) for one in _PUSHERS})
        return getattr(real, name)(*arguments, **options)

    return push


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
