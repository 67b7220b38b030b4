"""Sealed files: each contains the sha256 of its own bytes, computed with 64 zeros in the place of the digest.

For small files whose checksum is in no commit record: the records themselves, the catalogue, the manifest and the
metadata of arrays. Any changed bit is detected, and the files stay ordinary JSON and Parquet.
"""

from __future__ import annotations

import hashlib
import re
from collections import deque

from store.errors import StoreFormatError

BLANK = "0" * 64
SEAL_KEY = "fda.sha256"
"""The key of the digest in the JSON, or in the metadata of the Parquet file."""
_MAX_PLACES = 8
"""Places of a file that are tried."""
# Between key and digest: `": "` in JSON; in the footer of a Parquet file the type of a field and the length 64.
_SEALED = re.compile(rb"fda\.sha256[^0-9a-f]{1,16}([0-9a-f]{64})")


def sealed(content: bytes) -> bytes:
    """Write the digest into the content, at the value `BLANK` of `SEAL_KEY`.

    >>> content = b'{"fda.sha256": "' + BLANK.encode() + b'", "rows": 5}'
    >>> is_sealed(content), is_sealed(sealed(content)), is_sealed(sealed(content).replace(b"5", b"6"))
    (False, True, False)

    Raises:
        ValueError: The content has no such place, or more than one.
    """
    places = [match for match in _SEALED.finditer(content) if match[1] == BLANK.encode()]
    if len(places) != 1:
        raise ValueError(f"content to be sealed needs one {SEAL_KEY} of 64 zeros, got {len(places)}")
    digest = hashlib.sha256(content).hexdigest().encode()
    start, stop = places[0].span(1)
    return b"".join((memoryview(content)[:start], digest, memoryview(content)[stop:]))  # half a gigabyte is copied once


def is_sealed(content: bytes) -> bool:
    """Whether the content is, bit for bit, what `sealed` returned."""
    # A caption may contain what looks like a seal, so several places are tried. Writers put the seal behind all that
    # comes from a data set; so the last places are enough, however many a hostile file has.
    view = memoryview(content)
    for match in reversed(deque(_SEALED.finditer(content), maxlen=_MAX_PLACES)):
        start, stop = match.span(1)
        digest = hashlib.sha256(view[:start])
        digest.update(BLANK.encode())
        digest.update(view[stop:])
        if digest.hexdigest().encode() == match[1]:
            return True
    return False


def check_sealed(content: bytes, name: str, remedy: str) -> None:
    """Refuse content that is not what `sealed` returned. Call it before anything in the content is believed.

    Args:
        content: The file.
        name: For the error.
        remedy: What to do, as the end of a sentence.

    Raises:
        StoreFormatError: It was changed since it was written.
    """
    if not is_sealed(content):
        raise StoreFormatError(f"{name} was changed since it was written (its checksum is wrong): {remedy}")
