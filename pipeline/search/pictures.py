"""Pictures that are searched with: files from anybody, read within limits."""

from __future__ import annotations

import io
import stat
import struct
import warnings
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from pipeline.errors import InputError
from pipeline.video.resizing import resize_and_crop

MAX_FILE_BYTES = 2**28
MAX_PIXELS = 2**27
"""A picture of 134 million pixels takes 400 MB; cameras give 100 million at most."""


def read_picture(path: str, size: int) -> NDArray[np.uint8]:
    """A picture as a model takes it: upright, on white where it is transparent, resized and cut as frames are.

    Args:
        path: Of a file in any format that Pillow reads.
        size: Side of the square, in pixels.

    Returns:
        Shape (size, size, 3), RGB.

    Raises:
        InputError: It is missing, no picture, cut off, or too large.
    """
    return picture_of(_content(path), size, path)


def picture_of(content: bytes, size: int, name: str) -> NDArray[np.uint8]:
    """`read_picture`, of the content of a file; `name` is for errors."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # MAX_PIXELS is our limit
            with Image.open(io.BytesIO(content)) as opened:
                if opened.width * opened.height > MAX_PIXELS:
                    raise Image.DecompressionBombError
                # Phones store pictures as the sensor lies and note the rotation in EXIF, which Pillow does not apply by
                # itself.
                upright = ImageOps.exif_transpose(opened).convert("RGBA")
        # Transparent pixels have any colour, mostly black: logos would be black on black.
        ground = Image.new("RGBA", upright.size, "white")
        return resize_and_crop(np.array(Image.alpha_composite(ground, upright).convert("RGB")), size)
    except UnidentifiedImageError as error:
        raise InputError(f"{name} is not a picture that can be read: give a JPEG, PNG, WebP or the like") from error
    except Image.DecompressionBombError as error:
        raise InputError(f"{name} has more than {MAX_PIXELS:,} pixels: make it smaller") from error
    # What Pillow's readers raise for damaged files differs by format; PNG raises SyntaxError.
    except (OSError, ValueError, SyntaxError, EOFError, IndexError, struct.error) as error:
        raise InputError(f"{name} is not a whole picture ({error})") from error


def _content(path: str) -> bytes:
    """The bytes of a file, which may be no file at all."""
    file = Path(path)
    try:
        found = file.stat()
        if stat.S_ISDIR(found.st_mode):
            raise InputError(f"{path} is a folder: give a picture's file")
        # A pipe or a device: to read it would wait, or never end.
        if not stat.S_ISREG(found.st_mode):
            raise InputError(f"{path} is not a file: give a picture's file")
        if not found.st_size:
            raise InputError(f"{path} is empty: give a picture's file")
        if found.st_size > MAX_FILE_BYTES:
            raise InputError(f"{path} has {found.st_size / 2**20:,.0f} MiB, and a picture has at most 256")
        return file.read_bytes()
    except InputError:
        raise
    except FileNotFoundError as error:
        raise InputError(f"there is no file {path}") from error
    except ValueError as error:
        raise InputError(f"{path!r} is not a name of a file: {error}") from error
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror or error}") from error
