"""Pictures that people search by, kept until the server ends, the last ones of them."""

from __future__ import annotations

import hashlib
import io
import shutil
import tempfile
import threading
from collections import OrderedDict
from pathlib import Path

from PIL import Image, UnidentifiedImageError

from pipeline.errors import InputError

MAX_BYTES = 16 << 20
"""Of one picture."""
_MAX_KEPT_BYTES = 256 << 20
_MAX_PIXELS = 64 << 20
_FORMATS = {
    "JPEG": "image/jpeg",
    "PNG": "image/png",
    "WEBP": "image/webp",
    "GIF": "image/gif",
    "BMP": "image/bmp",
}


class Uploads:
    """Pictures by their digests, in a folder that goes with the server. Threads share it."""

    def __init__(self) -> None:
        self._folder: Path | None = None
        self._sizes: OrderedDict[str, int] = OrderedDict()
        self._types: dict[str, str] = {}
        self._lock = threading.Lock()

    def add(self, content: bytes) -> str:
        """Keep a picture, and return its digest, by which it is found again.

        Raises:
            InputError: It is no picture, or too large.
        """
        try:
            # Only formats that browsers show: Pillow's readers of rare ones are a way in for made-up files.
            with Image.open(io.BytesIO(content), formats=tuple(_FORMATS)) as picture:
                kind = _FORMATS[picture.format or ""]
                if picture.width * picture.height > _MAX_PIXELS:
                    raise InputError(f"the picture has {picture.width} x {picture.height} pixels: give a smaller one")
                # Decodes it: the header of a cut-off file opens without an error.
                picture.load()
        except InputError:
            raise
        except (UnidentifiedImageError, Image.DecompressionBombError, OSError, ValueError, SyntaxError) as error:
            raise InputError("this is not a picture that can be read: give a JPEG, PNG, WebP, GIF or BMP") from error
        digest = hashlib.sha256(content).hexdigest()[:32]
        with self._lock:
            if self._folder is None:
                self._folder = Path(tempfile.mkdtemp(prefix="fda-serve-"))
            if digest not in self._sizes:
                (self._folder / digest).write_bytes(content)
            self._sizes[digest], self._types[digest] = len(content), kind
            self._sizes.move_to_end(digest)
            # What was used longest ago goes first: `find` moves a picture to the end.
            while sum(self._sizes.values()) > _MAX_KEPT_BYTES:
                old, _ = self._sizes.popitem(last=False)
                (self._folder / old).unlink(missing_ok=True)
        return digest

    def find(self, digest: str) -> tuple[Path, str] | None:
        """The file of a picture and its type; None if it is not kept any more."""
        with self._lock:
            if self._folder is None or digest not in self._sizes:
                return None
            self._sizes.move_to_end(digest)
            return self._folder / digest, self._types[digest]

    def close(self) -> None:
        """Remove all."""
        with self._lock:
            if self._folder is not None:
                shutil.rmtree(self._folder, ignore_errors=True)
            self._folder, self._sizes = None, OrderedDict()
