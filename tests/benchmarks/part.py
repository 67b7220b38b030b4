"""One part of the benchmarks, in a process of its own: `python -m tests.benchmarks.part NAME FILE`; see `__main__`.

So a part that fails or dies takes no other with it, and none finds the settings, the memory or the threads of another.
"""

from __future__ import annotations

import argparse
import importlib
import inspect
import json
import traceback
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

from tests.benchmarks import measure, quoted
from tests.benchmarks.peers import PeersMissingError


def arguments_of(main: Callable[..., None], *, quick: bool, videos: Path | None) -> dict[str, object]:
    """Those arguments that a part knows: `quick` for small inputs, `videos` for files of the user's own."""
    known = inspect.signature(main).parameters
    given = {"quick": quick, **({} if videos is None else {"videos": videos})}
    return {name: value for name, value in given.items() if name in known}


def run_part(name: str, *, quick: bool, videos: Path | None) -> dict[str, object]:
    """Run a part; what it printed as tables and quoted, and why it ended early, if it did."""
    error = ""
    try:
        module = importlib.import_module(f"tests.benchmarks.bench_{name}")
        module.main(**arguments_of(module.main, quick=quick, videos=videos))
    except PeersMissingError as missing:
        error = f"left out: {missing}"
        print(error, flush=True)
    except Exception as failure:  # whatever it is, it is reported with the other parts' results
        traceback.print_exc()
        error = f"{type(failure).__name__}: {failure}"
    return {
        "quick": quick,
        "error": error,
        "tables": [asdict(table) for table in measure.printed],
        "rounds": [asdict(one) for one in measure.rounds_made],
        "quoted": {name: asdict(figure) for name, figure in quoted.quoted.items()},
    }


def main() -> None:
    """Run one part, and write what it gave to a file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name")
    parser.add_argument("file", type=Path)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--videos", type=Path)
    arguments = parser.parse_args()
    given = run_part(arguments.name, quick=arguments.quick, videos=arguments.videos)
    arguments.file.write_text(json.dumps(given))


if __name__ == "__main__":
    main()
