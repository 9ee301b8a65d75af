"""Checkpoints and archives that would do harm: refused in one line, nothing run, nothing written elsewhere."""

from __future__ import annotations

import gzip
import io
import json
import os
import pickle
import re
import struct
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from bench.backbones import find
from bench.backbones._checkpoint import read
from bench.datasets import _sources, datasets
from bench.datasets._sources import Folder, Unavailable
from bench.datasets.torchvision import _wary
from bench.errors import DataError, WeightsError


class Evil:
    """Runs code when it is unpickled."""

    def __reduce__(self) -> object:
        return os.mkdir, ("HACKED",)


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("BENCH_CACHE", str(tmp_path / "cache"))
    return tmp_path


def tensors(header: object, data: bytes = b"", size: int | None = None) -> bytes:
    """Return a safetensors file of a header, whatever that says."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if size is None else size) + text + data


def entry(shape: list[int], begin: int, end: int, dtype: str = "F32") -> dict[str, object]:
    return {"w": {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}}


def squeezed(path: Path) -> None:
    """Write a torch file whose tensor of 400 MB is 400 kB of zeros, squeezed."""
    torch.save({"w": torch.zeros(1)}, path)
    whole = zipfile.ZipFile(io.BytesIO(path.read_bytes()))
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in whole.namelist():
            archive.writestr(name, bytes(100_000_000) if "/data/" in name else whole.read(name))


def climbing(path: Path) -> None:
    """Write a zip archive with an entry that climbs out of the folder."""
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("../../HACKED", b"x")
        archive.writestr("archive/data.pkl", pickle.dumps({}))


NONE = "not a checkpoint that can be read: damaged, or neither a safetensors nor a torch file"
EVIL = (
    f"holds more than tensors ({os.mkdir.__module__}.mkdir) and was not loaded; save model.state_dict() instead, "
    "or use safetensors"
)
CHECKPOINTS: dict[str, tuple[str, bytes | Callable[[Path], object], str]] = {
    "a header without end": ("a.safetensors", tensors({}, size=2**63), NONE),
    "a header longer than the file": ("a.safetensors", tensors({}, size=1000), NONE),
    "a header that is no JSON": ("a.safetensors", tensors(b"{'w'}"), NONE),
    "a header of lists in lists": ("a.safetensors", tensors(b"[" * 100_000), NONE),
    "data beyond the end": ("a.safetensors", tensors(entry([1000], 0, 4000), bytes(4)), NONE),
    "data before the beginning": ("a.safetensors", tensors(entry([1], -4, 0), bytes(4)), NONE),
    "a shape that is not that of the data": ("a.safetensors", tensors(entry([10**9, 10**9], 0, 4), bytes(4)), NONE),
    "a shape below nothing": ("a.safetensors", tensors(entry([-1], 0, 4), bytes(4)), NONE),
    "a type of nobody": ("a.safetensors", tensors(entry([1], 0, 4, "PY"), bytes(4)), NONE),
    "data that nobody owns": ("a.safetensors", tensors(entry([1], 0, 4), bytes(4000)), NONE),
    "a pickle named safetensors": ("a.safetensors", pickle.dumps({"w": Evil()}), NONE),
    "no tensor": ("a.safetensors", tensors({}), "holds no state dict (names and tensors)"),
    "a pickle with code": ("a.pth", lambda path: torch.save({"w": Evil()}, path), EVIL),
    "a pickle with code, deep inside": ("a.pt", lambda path: torch.save({"model": {"w": [Evil()]}}, path), EVIL),
    "an archive with a bomb": ("a.pth", squeezed, "not loaded: N bytes that would unpack to N"),
    "an archive that climbs out": ("a.pth", climbing, NONE),
    "an archive of nothing": ("a.pth", b"PK\x05\x06" + bytes(18), NONE),
    "a GGUF": ("a.bin", b"GGUF" + bytes(100), NONE),
}


@pytest.mark.parametrize(("name", "content", "said"), CHECKPOINTS.values(), ids=CHECKPOINTS.keys())
def test_a_hostile_checkpoint_is_one_line_and_runs_nothing(
    name: str, content: bytes | Callable[[Path], object], said: str, here: Path
) -> None:
    path = here / name
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        content(path)
    with pytest.raises(WeightsError) as raised:
        read(path)
    line = re.sub(r"[\d,]+ bytes that would unpack to [\d,]+", "N bytes that would unpack to N", str(raised.value))
    assert line == f"{path}: {said}"
    assert [p.name for p in here.rglob("*")] == [name]
    assert not (here.parent / "HACKED").exists()


@pytest.mark.parametrize("value", [float("nan"), 1e38])
def test_a_tensor_of_another_shape_is_named_with_both_shapes(here: Path, value: float) -> None:
    backbone = find({"name": "toy_cnn", "weights": "a.pth"})
    state = find({"name": "toy_cnn"}).build(3, pretrained=False, seed=0).model.state_dict()
    name = next(name for name, tensor in state.items() if tensor.ndim == 4)
    shape = list(state[name].shape)
    torch.save({**state, name: torch.full((1,), value).expand(10**12)}, here / "a.pth")
    with pytest.raises(WeightsError) as raised:
        backbone.build(3, pretrained=True, seed=0)
    assert str(raised.value) == (
        f"a.pth: does not fit toy_cnn: tensors 1 of another shape, first {name!r}: [{10**12}] for {shape}"
    )


# Archives of data sets


def tar(path: Path, *members: tarfile.TarInfo) -> Path:
    with tarfile.open(path, "w:gz") as archive:
        for member in members:
            archive.addfile(member, io.BytesIO(b"x" * member.size))
    return path


def member(name: str, **fields: object) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.size = 1 if not fields else 0
    for key, value in fields.items():
        setattr(info, key, value)
    return info


LINK = {"type": tarfile.SYMTYPE}
MEMBERS: dict[str, list[tarfile.TarInfo]] = {
    "up": [member("../HACKED")],
    "up in the middle": [member("a/../../HACKED")],
    "a link out": [member("a", **LINK, linkname="../..")],
    "a link and through it": [member("a", **LINK, linkname=".."), member("a/HACKED")],
    "an absolute link": [member("a", **LINK, linkname="/etc/passwd")],
    "a hard link out": [member("a", type=tarfile.LNKTYPE, linkname="../secret")],
    "a device": [member("a", type=tarfile.CHRTYPE, devmajor=1, devminor=3)],
}


@pytest.mark.parametrize("members", MEMBERS.values(), ids=MEMBERS.keys())
def test_an_archive_unpacks_nothing_outside_of_its_folder(members: list[tarfile.TarInfo], here: Path) -> None:
    from torchvision.datasets.utils import extract_archive

    (here / "secret").write_text("secret")
    path = tar(here / "set.tgz", *members)
    (here / "whole").mkdir()
    with _wary(), pytest.raises(tarfile.FilterError):
        extract_archive(str(path), str(here / "whole"))
    assert sorted(p.name for p in here.iterdir()) == ["secret", "set.tgz", "whole"]


def test_a_zip_unpacks_nothing_outside_of_its_folder(here: Path) -> None:
    from torchvision.datasets.utils import extract_archive

    climbing(here / "set.zip")
    with _wary():
        extract_archive(str(here / "set.zip"), str(here / "whole"))
    assert (here / "whole" / "HACKED").exists()
    assert not (here.parent / "HACKED").exists()


def test_a_download_that_climbs_out_is_one_line_and_leaves_nothing(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from torchvision.datasets import FGVCAircraft, utils

    def hostile(url: str, root: str, **options: object) -> None:
        tar(Path(root) / "a.tgz", member("../../../HACKED"))
        utils.extract_archive(str(Path(root) / "a.tgz"), root)

    monkeypatch.setattr(FGVCAircraft, "_download", lambda self: hostile("", str(self.root)))
    with pytest.raises(DataError) as raised:
        datasets.create({"name": "fgvc_aircraft"}).fetch()
    said = "fgvc_aircraft could not be downloaded ('../../../HACKED' would be extracted to "
    assert str(raised.value).startswith(said)
    assert [p for p in here.rglob("*") if p.is_file()] == []


def test_a_copy_of_cifar_that_is_another_file_is_not_unpickled(here: Path) -> None:
    folder = here / "copy" / "cifar-10-batches-py"
    folder.mkdir(parents=True)
    for name in ("batches.meta", "test_batch", *(f"data_batch_{i}" for i in range(1, 6))):
        (folder / name).write_bytes(pickle.dumps(Evil()))
    dataset = datasets.create({"name": "cifar10", "root": str(here / "copy")})
    with pytest.raises(DataError, match="Dataset not found or corrupted"):
        dataset.examples("train")
    assert not (here / "HACKED").exists()


def test_a_gz_that_unpacks_to_more_than_fits_is_said_so(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_sources, "MAX_FILE_BYTES", 1_000_000)
    (here / "pictures.gz").write_bytes(gzip.compress(bytes(2_000_000)))
    (here / "labels").write_bytes(bytes(2_000_000))
    for name, said in (("pictures", "pictures.gz unpacks to more than"), ("labels", "labels is more than")):
        with pytest.raises(Unavailable, match=said):
            Folder(here, "a folder").get([name])
