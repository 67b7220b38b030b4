"""Ids of videos as names of files: an id may hold what no file system takes, and no two may share a name."""

from __future__ import annotations

import hashlib
import re

_AS_IT_IS = re.compile(r"[\w-]", re.ASCII)
MAX_BYTES = 200
"""Of a name: file systems take 255, and endings such as `_timestamps_ms.npy` are added to it."""
_SHORTENED = "%~"
"""Stands before the digest in a name that was cut. What is escaped has two hexadecimal digits after a `%`."""


def file_name(video_id: str, *, keep_dots: bool = True) -> str:
    r"""A name of a file for an id; different ids give different names, and most ids are their own.

    Letters of any script, digits, `_`, `-` and inner dots stay. Any other character becomes `%` and the two hexadecimal
    digits of each of its bytes, as in a URL. A name that is too long is cut, and ends with the sha256 of the id.

    Args:
        video_id: The id.
        keep_dots: Whether dots inside may stay. A key of webdataset ends at its first dot.

    >>> file_name("-vidéo_1"), file_name("../a b%"), file_name("v_1.a"), file_name("v_1.a", keep_dots=False)
    ('-vidéo_1', '%2E.%2Fa%20b%25', 'v_1.a', 'v_1%2Ea')
    >>> len(file_name("x" * 1000))
    200
    """
    last = len(video_id) - 1
    name = "".join(
        letter
        if _AS_IT_IS.match(letter)
        or (letter == "." and keep_dots and 0 < place < last)
        or (letter > "\x7f" and letter.isalnum())
        else "".join(f"%{byte:02X}" for byte in letter.encode())
        for place, letter in enumerate(video_id)
    )
    if len(name.encode()) <= MAX_BYTES:
        return name
    ending = _SHORTENED + hashlib.sha256(video_id.encode()).hexdigest()
    return name.encode()[: MAX_BYTES - len(ending)].decode(errors="ignore") + ending
