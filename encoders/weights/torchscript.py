"""The tensors of a TorchScript archive, such as OpenAI's weights, without running what is in it.

`torch.jit.load` compiles the archive's code, and runs default arguments and every `__setstate__` of it: enough to write
files. So torch does not read the archive here. Its `data.pkl` is unpickled with stand-ins for all
classes, and its code is text in which the names of parameters and buffers are looked up.
"""

from __future__ import annotations

import pickle
import pickletools
import re
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from io import BytesIO
from pathlib import Path

import torch
from torch import Tensor

_DTYPES = {
    "FloatStorage": torch.float32,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "DoubleStorage": torch.float64,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "ShortStorage": torch.int16,
    "CharStorage": torch.int8,
    "ByteStorage": torch.uint8,
    "BoolStorage": torch.bool,
}
# How torch writes each class: its name, then the names of parameters and of buffers, in quotes.
_LISTED = re.compile(r"^class (\w+)\(Module\):\n  __parameters__ = \[(.*)\]\n  __buffers__ = \[(.*)\]$", re.MULTILINE)


def read_torchscript(path: Path) -> Mapping[str, Tensor]:
    """The parameters and buffers of the module that `torch.jit.save` wrote, under the names of its state dict.

    Raises:
        pickle.UnpicklingError: the archive contains more than modules, tensors, numbers and texts.
        KeyError, RuntimeError, ValueError: the archive is damaged.
    """
    with zipfile.ZipFile(path) as archive:
        # All records lie in one folder, whose name is that of the file when it was saved.
        constants = next(name for name in archive.namelist() if name.endswith("/constants.pkl"))
        reader = _Reader(archive, constants.removesuffix("constants.pkl"))
        module = reader.load()
        if not isinstance(module, _Module):
            raise pickle.UnpicklingError(f"a module is expected, got {type(module).__name__}")
        return dict(_tensors(module, "", frozenset()))


class _Module:
    """Stands in for any class of the archive."""

    listed: frozenset[str] | None
    """Names of its parameters and buffers, if the archive's code lists them; otherwise None."""

    def __setstate__(self, state: object) -> None:
        if not isinstance(state, dict):
            raise pickle.UnpicklingError(f"the state of a module is {type(state).__name__}, not its attributes")
        self.attributes: dict[str, object] = state


def _tensors(module: _Module, prefix: str, above: frozenset[int]) -> Iterator[tuple[str, Tensor]]:
    # A pickle may put a module into itself. 100: before Python's own limit of calls, and far above what models have.
    if id(module) in above or len(above) > 100:
        raise ValueError(f"the modules are nested endlessly, at {prefix:.100}")
    for name, value in getattr(module, "attributes", {}).items():
        # A module may have tensors as plain attributes, which are in no state dict.
        if isinstance(value, Tensor) and (module.listed is None or name in module.listed):
            yield prefix + name, value
        elif isinstance(value, _Module):
            yield from _tensors(value, f"{prefix}{name}.", above | {id(module)})


class _Reader(pickle.Unpickler):
    """Unpickles `data.pkl`: storages come from the archive's records, and classes are stand-ins."""

    def __init__(self, archive: zipfile.ZipFile, prefix: str) -> None:
        pickled = archive.read(f"{prefix}data.pkl")
        # Before the unpickler sees it.
        _check_memo(pickled)
        super().__init__(BytesIO(pickled))
        self._archive = archive
        self._prefix = prefix
        self._storages: dict[str, Tensor] = {}
        self._classes: dict[tuple[str, str], type[_Module]] = {}

    def find_class(self, module_name: str, global_name: str, /) -> object:
        """Replace every name by a stand-in, or by a function that only builds tensors or containers."""
        # torch puts this before the names of all classes of an archive.
        if module_name.split(".")[0] == "__torch__":
            return self._stand_in(module_name, global_name)
        if module_name == "torch" and global_name in _DTYPES:
            return _DTYPES[global_name]
        if (module_name, global_name) in _FUNCTIONS:
            return _FUNCTIONS[module_name, global_name]
        raise pickle.UnpicklingError(f"it asks for {module_name}.{global_name}")

    def persistent_load(self, pid: object, /) -> Tensor:
        """A storage, as a tensor of one dimension."""
        match pid:
            # What torch writes for a storage: its class (a dtype here, see `find_class`), the name of its record, the
            # device, and how many numbers it has.
            case ("storage", torch.dtype() as dtype, str(key), str(), int(num_elements)):
                if key not in self._storages:
                    record = self._archive.read(f"{self._prefix}data/{key}")
                    # A record is the numbers alone, as they lie in memory. A `bytearray`, as torch warns of memory that
                    # it may not write to; torch makes no tensor of no bytes.
                    self._storages[key] = torch.frombuffer(bytearray(record), dtype=dtype) if record else torch.empty(0)
                # Two tensors may name one record, and a hostile archive may give it two types.
                if num_elements != len(self._storages[key]) or (num_elements and self._storages[key].dtype != dtype):
                    raise ValueError(f"record {key} has another size than its tensor declares, {num_elements}")
                # Only an empty one has another type here.
                return self._storages[key].to(dtype)
        raise pickle.UnpicklingError("a storage of another kind than tensors have")

    def _stand_in(self, module_name: str, global_name: str) -> type[_Module]:
        if (module_name, global_name) not in self._classes:
            # The class `__torch__.a.b.C` is in `code/__torch__/a/b.py`.
            name = f"{self._prefix}code/{module_name.replace('.', '/')}.py"
            code = self._archive.read(name).decode() if name in self._archive.namelist() else ""
            listed = None
            for found in _LISTED.finditer(code):
                if found[1] == global_name:
                    listed = frozenset(re.findall(r'"([^"]*)"', found[2] + found[3]))
            self._classes[module_name, global_name] = type("Module", (_Module,), {"listed": listed})
        return self._classes[module_name, global_name]


def _check_memo(pickled: bytes) -> None:
    """Refuse a memo larger than the pickle: unpickling allocates memory up to the highest index."""
    for number, (opcode, argument, _) in enumerate(pickletools.genops(pickled)):
        # A pickler numbers what it remembers from 0, at most one an instruction. `MEMOIZE` has no index: it takes the
        # next.
        if opcode.name in ("PUT", "BINPUT", "LONG_BINPUT") and not 0 <= int(argument or 0) <= number:
            raise pickle.UnpicklingError(f"it has memo index {argument} at instruction {number}")


def _tensor(storage: Tensor, offset: int, size: tuple[int, ...], stride: tuple[int, ...], *_: object) -> Tensor:
    """A view of a storage; torch checks that it lies inside."""
    return storage.as_strided(size, stride, offset)


def _itself(value: object, *_: object) -> object:
    return value


_FUNCTIONS: Mapping[tuple[str, str], Callable[..., object]] = {
    ("torch._utils", "_rebuild_tensor_v2"): _tensor,
    ("collections", "OrderedDict"): OrderedDict,
    ("torch.jit._pickle", "build_intlist"): _itself,
    ("torch.jit._pickle", "build_doublelist"): _itself,
    ("torch.jit._pickle", "build_boollist"): _itself,
    ("torch.jit._pickle", "build_tensorlist"): _itself,
    # The second argument is the type of a list or a table, in words: values have theirs already.
    ("torch.jit._pickle", "restore_type_tag"): _itself,
}
"""The functions that archives call."""
