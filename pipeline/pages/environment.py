"""Pages from templates: everything that is filled in is escaped, and nothing is fetched from elsewhere."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable
from pathlib import Path

import jinja2

from encoders.replacing import replacing
from pipeline.pages.texts import visible


def templates_of(package: str) -> jinja2.Environment:
    """The templates of a package, which may extend and import those of `pipeline.pages` as `pages/NAME`.

    Text that is filled in is escaped, and a name that is not given is an error.

    Args:
        package: Such as `pipeline.demo`: its templates are in its folder `templates`.
    """
    own, shared = jinja2.PackageLoader(package), jinja2.PackageLoader("pipeline.pages")
    return jinja2.Environment(
        # A package's own templates first; those of others only by their prefix, so that no name is taken by accident.
        loader=jinja2.ChoiceLoader([own, jinja2.PrefixLoader({"pages": shared})]),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        finalize=lambda value: visible(value) if type(value) is str else value,  # no Markup, which is escaped already
        trim_blocks=True,
        lstrip_blocks=True,
    )


def script_source(script: str) -> str:
    """What a page's policy (the block `csp`) needs to say so that this inline script runs, and no other.

    >>> script_source("")
    "script-src 'sha256-47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU='"
    """
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return f"script-src 'sha256-{digest}'"


def write_page(path: Path, html: str) -> None:
    """Write a page in one step: a killed run leaves no half page under that name.

    Raises:
        OSError: The folder is missing, or cannot be written.
    """
    with replacing(path) as temporary:
        temporary.write_text(html, encoding="utf-8")


def write_page_in_parts(path: Path, parts: Iterable[str]) -> None:
    """`write_page` for pages that need not be in memory as a whole: `template.generate(...)` gives the parts.

    Raises:
        OSError: The folder is missing, or cannot be written.
    """
    with replacing(path) as temporary, temporary.open("w", encoding="utf-8") as file:
        file.writelines(parts)
