"""Pictures in any format as uint8 arrays."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from bench.errors import OptionError

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

FORMATS = ("AVIF", "BMP", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP")
# Just under the size at which Pillow warns of a decompression bomb.
MAX_PIXELS = 89_000_000
MAX_EDGE = 8192


def check_resolution(resolution: int | None) -> None:
    """Raise OptionError unless `resolution` is None or a number of pixels that a picture may have."""
    if resolution is not None and not 1 <= resolution <= MAX_EDGE:
        raise OptionError(f"resolution must be 1 to {MAX_EDGE:,} pixels, not {resolution}", ("resolution",))


def decode(path: Path) -> NDArray[np.uint8]:
    """Read a picture file. Raises whatever the decoder raises on a bad file, ValueError when it is too large.

    Returns uint8 [height, width] for grey and [height, width, 3] for the rest, turned upright by its EXIF
    orientation; of an animation, the first frame.
    """
    with _opened(path) as image:
        image.load()
        return pixels(image)


def examine(path: Path) -> dict[str, Any]:
    """Find out whether `decode` can read a file, at less cost: {"colour": bool} or {"problem": "why not"}.

    Every byte is parsed, but a JPEG is drawn at an eighth of its size.
    """
    try:
        with _opened(path) as image:
            image.draft(None, (1, 1))
            image.load()
            return {"colour": pixels(image).ndim == 3}
    except Exception as error:  # noqa: BLE001 - on hostile bytes a decoder may raise anything
        return {"problem": problem(error)}


def problem(error: Exception) -> str:
    """Say in a few words why a picture could not be read."""
    from PIL import Image, UnidentifiedImageError

    if isinstance(error, UnidentifiedImageError):
        return "not a picture that Pillow can read here"
    if isinstance(error, Image.DecompressionBombError):
        return f"more than {MAX_PIXELS:,} pixels"
    said = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return " ".join(said.split())[:200] or type(error).__name__


def in_colour(picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return a picture as [height, width, 3], the grey one with three equal channels."""
    import numpy as np

    return picture if picture.ndim == 3 else np.repeat(picture[:, :, None], 3, axis=2)


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    """Open a file with the decoders of `FORMATS` alone: some of the others run programs or read further files."""
    from PIL import Image

    Image.init()
    # Metadata that are damaged are no fault of the pixels.
    warnings.filterwarnings("ignore", category=UserWarning, module=r"PIL\.")
    with Image.open(path, formats=[name for name in FORMATS if name in Image.OPEN]) as image:
        if image.width * image.height > MAX_PIXELS:
            raise ValueError(f"{image.width} x {image.height} is more than {MAX_PIXELS:,} pixels")
        yield image


def pixels(image: Any) -> NDArray[np.uint8]:
    """Return a PIL image as uint8 [height, width] (grey) or [height, width, 3].

    Transparent parts are laid on white. 16-bit grey is divided by 257. Raises ValueError for floating-point
    pixels, which have no agreed range.
    """
    import numpy as np
    from PIL import Image, ImageOps

    upright = ImageOps.exif_transpose(image)
    if upright.mode == "F":
        raise ValueError("floating-point pixels have no agreed range")
    # Pillow's own conversion of 16-bit grey cuts everything above 255 to white.
    if upright.mode.startswith("I"):
        wide = np.asarray(upright).astype(np.int64).clip(0, 65535)
        return np.rint(wide / 257).astype(np.uint8)
    if upright.mode in ("1", "L"):
        return np.array(upright.convert("L"))
    if upright.mode in ("LA", "La", "PA", "RGBA", "RGBa") or "transparency" in upright.info:
        upright = upright.convert("RGBA")
        white = Image.new("RGBA", upright.size, "white")
        upright = Image.alpha_composite(white, upright)
    return np.array(upright.convert("RGB"))
