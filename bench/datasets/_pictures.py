"""Pictures in any format as uint8 arrays."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from bench.errors import OptionError

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray


def check_resolution(resolution: int | None) -> None:
    """Raise OptionError unless `resolution` is None or a number of pixels."""
    if resolution is not None and resolution < 1:
        raise OptionError(f"resolution must be 1 pixel or more, not {resolution}", ("resolution",))


def decode(path: Path) -> NDArray[np.uint8]:
    """Read a picture file. Raises whatever the decoder raises on a bad file.

    Returns uint8 [height, width] for grey and [height, width, 3] for the rest, turned upright by its EXIF
    orientation; of an animation, the first frame.
    """
    from PIL import Image

    with Image.open(path) as image:
        image.load()
        return pixels(image)


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
