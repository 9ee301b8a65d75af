"""Arrays in .npz files: looked at without unpickling anything, unpacked to files that can be mapped into memory."""

from __future__ import annotations

import shutil
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from bench.files import replacing

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

# An array that is read whole, such as labels, takes so many bytes at most.
MOST_IN_MEMORY = 100_000_000


def header(archive: zipfile.ZipFile, name: str) -> tuple[tuple[int, ...], np.dtype[Any]]:
    """Return the shape and type of an array in an archive. Raises ValueError unless it can be an array of numbers."""
    info = _info(archive, name)
    with archive.open(info) as file:
        shape, kind = _header(file, name)
        begin = file.tell()
    count = kind.itemsize
    for edge in shape:
        count *= edge
    if info.file_size - begin != count:
        raise ValueError(f"{name} is cut or damaged: {info.file_size - begin:,} bytes for {count:,}")
    return shape, kind


def whole(archive: zipfile.ZipFile, name: str) -> NDArray[Any]:
    """Return an array in an archive. Raises ValueError, also for one that is too large to be read whole."""
    import numpy as np

    header(archive, name)
    if (size := _info(archive, name).file_size) > MOST_IN_MEMORY:
        raise ValueError(f"{name} is {size:,} bytes")
    with archive.open(_info(archive, name)) as file:
        found: NDArray[Any] = np.lib.format.read_array(file, allow_pickle=False)
    return found


def unpack(path: Path, names: Sequence[str], folder: Path) -> None:
    """Write arrays of an .npz file into a folder, each as NAME.npy, whole or not at all. Raises as zipfile does."""
    with zipfile.ZipFile(path) as archive:
        for name in names:
            header(archive, name)
            with (
                archive.open(_info(archive, name)) as source,
                replacing(folder / f"{name}.npy") as temporary,
                temporary.open("wb") as target,
            ):
                shutil.copyfileobj(source, target, 1 << 20)


def mapped(folder: Path, name: str) -> NDArray[Any]:
    """Return an array that was unpacked; it stays on disk. Raises OSError and ValueError."""
    import numpy as np

    found: NDArray[Any] = np.load(folder / f"{name}.npy", mmap_mode="r", allow_pickle=False)
    return found


def _info(archive: zipfile.ZipFile, name: str) -> zipfile.ZipInfo:
    try:
        return archive.getinfo(f"{name}.npy")
    except KeyError:
        raise ValueError(f"it has no {name}") from None


def _header(file: IO[bytes], name: str) -> tuple[tuple[int, ...], np.dtype[Any]]:
    import numpy as np

    readers = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
    try:
        reader = readers[np.lib.format.read_magic(file)]
        shape, by_columns, kind = reader(file)
    except (ValueError, KeyError):
        raise ValueError(f"{name} is no array of numbers") from None
    if kind.hasobject:
        raise ValueError(f"{name} holds Python objects, which are never loaded")
    if by_columns and len(shape) > 1:
        raise ValueError(f"{name} is laid out column by column; save it with numpy.ascontiguousarray")
    return tuple(map(int, shape)), kind
