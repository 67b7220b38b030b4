"""`python -m tests.docs.typed_examples`: check the types of the examples in docs/python.md, as `make types` does.

It is no test: mypy reads all that `fda` imports, which takes seconds only with the cache that `make types` has filled.
"""

from __future__ import annotations

import doctest
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.paths import ROOT

PAGE = ROOT / "docs/python.md"


def examples_in_place(text: str) -> str:
    """The examples of a page as one program, in which each line has the number that it has in the page.

    >>> examples_in_place("# Page\\n\\n>>> if 1:\\n...     2\\n2\\n").splitlines()
    ['', '', 'if 1:', '    2', '']
    """
    lines = [""] * len(text.splitlines())
    for example in doctest.DocTestParser().get_examples(text):
        for number, line in enumerate(example.source.splitlines(), start=example.lineno):
            lines[number] = line
    return "\n".join(lines) + "\n"


def main(*options: str) -> int:
    """Run mypy with the project's settings; returns its exit code."""
    with tempfile.TemporaryDirectory() as folder:
        program = Path(folder) / "python_page.py"
        program.write_text(examples_in_place(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
        command = [sys.executable, "-m", "mypy", *options, str(program)]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    sys.stdout.write(done.stdout.replace(str(program), str(PAGE.relative_to(ROOT))))
    sys.stderr.write(done.stderr)
    return done.returncode


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
