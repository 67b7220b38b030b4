"""Which published file of weights a file is: by the sha256 that open_clip's code has of it.

open_clip names OpenAI's files by their whole sha256, and its own releases by the first 8 of its 64 digits. Weights on
the Hugging Face hub have none there; nor has Alpha-CLIP published any of its files.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import PurePosixPath
from types import MappingProxyType
from urllib.parse import urlsplit

from encoders.torchvision_shim import import_open_clip

open_clip = import_open_clip()

_OPENAI = "openaipublic"
"""In the host of the addresses whose last folder is the sha256."""
_RELEASES = "mlfoundations"
"""In the addresses whose file name ends with the first digits of the sha256."""


@cache
def published_files() -> Mapping[str, str]:
    """The first digits of the sha256 of each file, 8 or 64 of them -> its name, as it is downloaded.

    >>> published_files()["40d365715913c9da98579312b702a82c18be219cc2a73407c4526f58eba950af"]
    'ViT-B-32.pt'
    """
    found: dict[str, str] = {}
    for model, tag in open_clip.list_pretrained():
        path = PurePosixPath(urlsplit(url := str(open_clip.get_pretrained_cfg(model, tag).get("url") or "")).path)
        if _OPENAI in url:
            found[path.parent.name] = path.name
        elif _RELEASES in url:
            found[path.stem.rsplit("-", 1)[-1]] = path.name
    return MappingProxyType(found)


def published_name(sha256: str) -> str | None:
    """The name of the published file with this sha256; None if open_clip knows none."""
    files = published_files()
    return files.get(sha256) or files.get(sha256[:8])


def unlike_its_name(source: str, sha256: str) -> str | None:
    """What to warn of if a file is called like a published one and is another: a sentence, or None.

    Args:
        source: Path of the file; a tag is none.
        sha256: Of the file.
    """
    name = PurePosixPath(source).name
    digits = next((digits for digits, published in published_files().items() if published == name), None)
    if digits is None or sha256.startswith(digits):
        return None
    return (
        f"{source} is called like the published {name}, and is another file: its sha256 begins with {sha256[:8]}, that "
        f"of the published one with {digits[:8]}. It may be damaged, or saved again by other code"
    )
