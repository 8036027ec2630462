"""Pictures that a person may bring: opened from files, arrays and addresses, under limits of bytes, pixels and time."""

import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from io import BytesIO
from pathlib import PurePath
from typing import Any

import numpy as np

from workbench._optional import require
from workbench.downloads import CHUNK, answered
from workbench.errors import ImageError

__all__ = ["FORMATS", "MAX_BYTES", "download_image", "naming_rows", "open_image"]

FORMATS = ("BMP", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP")  # Pillow's other readers run programs, or are untried
MAX_BYTES = 20_000_000  # of a file that is downloaded


def open_image(source: Any) -> Any:
    """Return ``source`` as a ``PIL.Image.Image`` in RGB, on white where it is transparent.

    Args:
        source: a ``PIL.Image.Image``; the ``Path`` of a file, of which the first frame is taken, turned as its EXIF
            data say; or an array of whole numbers from 0 to 255: (height, width), or (height, width, channels) with 1,
            3 or 4 channels. A string is refused: to a model it is a text. Write ``Path(name)``, or see
            ``download_image``.

    Raises:
        ImageError: it is nothing of these, or cannot be read, or has more pixels than ``PIL.Image.MAX_IMAGE_PIXELS``.
    """
    image_type = require("PIL.Image", extra="lab").Image
    if isinstance(source, image_type):
        with _reading(source, "The image"):
            return _on_white(source)
    if isinstance(source, PurePath):
        return _decoded(source, source, str(source))
    if isinstance(source, np.ndarray):
        return _from_array(source)
    raise ImageError(f"An image is a PIL image, a Path or an array, not {type(source).__name__}.", source)


def download_image(url: str, *, max_bytes: int = MAX_BYTES, timeout: float = 10.0) -> Any:
    """Return the picture at an address as a ``PIL.Image.Image``; models never do this by themselves.

    Args:
        url: an address with http or https; it may lead on to others of the same kind. This machine
            asks for it: do not pass on what strangers wrote where it sees a network that they do not.
        max_bytes: reading stops where there are more.
        timeout: seconds for all of it.

    Raises:
        ImageError: another kind of address, no answer in time, too many bytes, or no picture; see ``open_image``.
    """
    try:
        content = _fetched(url, max_bytes, timeout)
    except (OSError, ValueError) as error:
        raise ImageError(f"{url:.200} could not be downloaded: {error}.", url) from error
    return _decoded(BytesIO(content), url, f"{url:.200}")


@contextmanager
def naming_rows(rows: Sequence[Any], first: int = 0) -> Iterator[None]:
    """Let an ``ImageError`` of one of ``rows`` name its row, counted from ``first``."""
    try:
        yield
    except ImageError as error:
        for row, value in enumerate(rows, first):
            if error.row is None and any(_same(one, error.source) for one in _parts(value)):
                raise error.at(row) from error
        raise


def _parts(row: Any) -> Iterable[Any]:
    return row.values() if isinstance(row, dict) else (row,)


def _same(one: Any, other: Any) -> bool:
    return one is other or (isinstance(one, PurePath) and isinstance(other, PurePath) and one == other)


def _fetched(url: str, max_bytes: int, timeout: float) -> bytes:
    end, size = time.monotonic() + timeout, 0
    parts: list[bytes] = []
    with answered(url, timeout=timeout, accept="image/*") as answer:
        while part := answer.read1(CHUNK):  # read(n) would wait for all n
            parts.append(part)
            size += len(part)
            if size > max_bytes:
                raise ValueError(f"it has more than {max_bytes:,} bytes; shrink it, or raise max_bytes")
            if time.monotonic() > end:
                raise TimeoutError(f"it took more than {timeout:g} s")
    return b"".join(parts)


def _decoded(file: Any, source: Any, name: str) -> Any:
    open_file = require("PIL.Image", extra="lab").open
    transpose = require("PIL.ImageOps", extra="lab").exif_transpose
    with _reading(source, name), open_file(file, formats=FORMATS) as image:
        return _on_white(transpose(image))


def _on_white(image: Any) -> Any:
    """The image in RGB; where one can see through it, one sees white, as transformers has it."""
    if "A" not in image.getbands() and "transparency" not in image.info:
        return image.convert("RGB")
    white = require("PIL.Image", extra="lab").new("RGBA", image.size, "white")
    white.alpha_composite(image.convert("RGBA"))
    return white.convert("RGB")


@contextmanager
def _reading(source: Any, name: str) -> Iterator[None]:
    """Turn what Pillow raises, and its warning of a bomb, into one kind of error."""
    import struct
    import warnings
    import zlib

    pil = require("PIL.Image", extra="lab")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", pil.DecompressionBombWarning)
            yield
    except (pil.DecompressionBombError, pil.DecompressionBombWarning) as error:
        limit = f"{pil.MAX_IMAGE_PIXELS:,}"
        raise ImageError(f"{name} has more than {limit} pixels. Shrink it first: it may be a bomb.", source) from error
    except FileNotFoundError as error:
        raise ImageError(f"{name} is not there.", source) from error
    except (OSError, SyntaxError, ValueError, TypeError, LookupError, EOFError, struct.error, zlib.error) as error:
        raise ImageError(
            f"{name} cannot be read as a picture ({error}). Known: {', '.join(FORMATS)}.", source
        ) from error


def _from_array(array: Any) -> Any:
    pil = require("PIL.Image", extra="lab")
    values = array[:, :, 0] if array.ndim == 3 and array.shape[2] == 1 else array
    fits = values.ndim == 2 or (values.ndim == 3 and values.shape[2] in (3, 4))
    if values.dtype != np.uint8 or not fits or not values.size:
        raise ImageError(
            f"An array of shape {array.shape} and type {array.dtype} is no image: expected (height, width) or (height, "
            "width, 1, 3 or 4) of type uint8. Shares from 0 to 1 become that by (255 * array).astype('uint8').",
            array,
        )
    if pil.MAX_IMAGE_PIXELS and values.shape[0] * values.shape[1] > pil.MAX_IMAGE_PIXELS:
        raise ImageError(f"An array of shape {array.shape} has more than {pil.MAX_IMAGE_PIXELS:,} pixels.", array)
    return _on_white(pil.fromarray(values))
