"""Small picture files on disk: a class a folder, and the layouts that torchvision keeps its sets in."""

from __future__ import annotations

import bz2
import json
import struct
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
from PIL import Image


def picture(path: Path, seed: int = 0, grey: bool = False, size: tuple[int, int] = (12, 10)) -> Path:
    """Write a noisy picture of (width, height); the suffix says the format."""
    rng = np.random.default_rng(seed)
    pixels = rng.integers(0, 255, (size[1], size[0]) if grey else (size[1], size[0], 3), dtype=np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)
    return path


def folder(root: Path, classes: Iterable[str] = ("cat", "dog"), each: int = 6, suffix: str = ".png") -> Path:
    """Write `each` pictures into a folder for every class, no two the same."""
    for label in classes:
        for i in range(each):
            picture(root / label / f"{i}{suffix}", seed=hash_of(f"{root.name}/{label}/{i}"))
    return root


def hash_of(text: str) -> int:
    """Return a number that is the same in every process."""
    return int.from_bytes(text.encode()[-8:], "big")


def mnist(root: Path, folder: str = "MNIST", prefix: tuple[str, str] = ("train", "t10k"), first: int = 0) -> None:
    for name, count in zip(prefix, (20, 10), strict=True):
        pixels = np.random.default_rng(count).integers(0, 255, (count, 28, 28), dtype=np.uint8)
        labels = (np.arange(count) % 3 + first).astype(np.uint8)
        raw = root / folder / "raw"
        raw.mkdir(parents=True, exist_ok=True)
        (raw / f"{name}-images-idx3-ubyte").write_bytes(struct.pack(">4I", 0x803, count, 28, 28) + pixels.tobytes())
        (raw / f"{name}-labels-idx1-ubyte").write_bytes(struct.pack(">2I", 0x801, count) + labels.tobytes())


def emnist_letters(root: Path) -> None:
    mnist(root, "EMNIST", ("emnist-letters-train", "emnist-letters-test"), first=1)


def qmnist(root: Path) -> None:
    mnist(root, "QMNIST", ("qmnist-train", "qmnist-test"))
    for name, count in (("train", 20), ("test", 10)):
        rows = np.stack([np.arange(count) % 3, *[np.full(count, 9)] * 7], axis=1).astype(">i4")
        path = root / "QMNIST" / "raw" / f"qmnist-{name}-labels-idx2-int"
        path.write_bytes(struct.pack(">3I", 0xC02, count, 8) + rows.tobytes())


def usps(root: Path) -> None:
    for name, count in (("usps.bz2", 20), ("usps.t.bz2", 10)):
        lines = [f"{i % 3 + 1} " + " ".join(f"{j + 1}:{(i + j) % 9 / 9:.3f}" for j in range(256)) for i in range(count)]
        (root / name).write_bytes(bz2.compress("\n".join(lines).encode()))


def gtsrb(root: Path) -> None:
    base = root / "gtsrb"
    for label in range(3):
        for i in range(4):
            picture(base / "GTSRB" / "Training" / f"{label:05d}" / f"{i}.ppm", seed=label * 10 + i)
    rows = ["Filename;Width;Height;ClassId"]
    for i in range(6):
        picture(base / "GTSRB" / "Final_Test" / "Images" / f"{i}.ppm", seed=100 + i)
        rows.append(f"{i}.ppm;12;10;{i % 3}")
    (base / "GT-final_test.csv").write_text("\n".join(rows))


def eurosat(root: Path) -> None:
    folder(root / "eurosat" / "2750", ("Forest", "River"), each=10, suffix=".jpg")


def imagenette_160px(root: Path) -> None:
    for part in ("train", "val"):
        folder(root / "imagenette2-160" / part, ("n01440764", "n03888257"), suffix=".jpeg")


def country211(root: Path) -> None:
    for part in ("train", "valid", "test"):
        folder(root / "country211" / part, ("AD", "ZW"), suffix=".jpg")


def rendered_sst2(root: Path) -> None:
    for part in ("train", "valid", "test"):
        folder(root / "rendered-sst2" / part, ("negative", "positive"))


def caltech101(root: Path) -> None:
    base = root / "caltech101" / "101_ObjectCategories"
    for label in ("ant", "bee", "BACKGROUND_Google"):
        for i in range(1, 11):
            # As in the real set, some pictures are grey, the first one among them.
            picture(base / label / f"image_{i:04d}.jpg", seed=hash_of(f"{label}{i}"), grey=i in (1, 5))


def sun397(root: Path) -> None:
    base = root / "SUN397"
    for label in ("abbey", "zoo"):
        for i in range(10):
            picture(base / label[0] / label / f"sun_{(i * 7) % 10}{label}.jpg", seed=hash_of(f"{label}{i}"))
    (base / "ClassName.txt").write_text("/a/abbey\n/z/zoo\n")


def dtd(root: Path) -> None:
    base = root / "dtd" / "dtd"
    folder(base / "images", ("banded", "woven"), suffix=".jpg")
    (base / "labels").mkdir()
    for part, numbers in (("train", (0, 1)), ("val", (2, 3)), ("test", (4, 5))):
        lines = [f"{label}/{i}.jpg" for label in ("banded", "woven") for i in numbers]
        (base / "labels" / f"{part}1.txt").write_text("\n".join(lines))


def food101(root: Path) -> None:
    base = root / "food-101"
    folder(base / "images", ("pizza", "sushi"), suffix=".jpg")
    (base / "meta").mkdir()
    for part, numbers in (("train", range(4)), ("test", range(4, 6))):
        content = {label: [f"{label}/{i}" for i in numbers] for label in ("pizza", "sushi")}
        (base / "meta" / f"{part}.json").write_text(json.dumps(content))


def oxford_iiit_pet(root: Path) -> None:
    base = root / "oxford-iiit-pet"
    (base / "annotations").mkdir(parents=True)
    for part, first in (("trainval", 0), ("test", 100)):
        lines = []
        for i in range(8):
            name = f"{('Abyssinian', 'great_pyrenees')[i % 2]}_{first + i}"
            picture(base / "images" / f"{name}.jpg", seed=first + i)
            lines.append(f"{name} {i % 2 + 1} {i % 2 + 1} 1")
        (base / "annotations" / f"{part}.txt").write_text("\n".join(lines))


def fgvc_aircraft(root: Path) -> None:
    data = root / "fgvc-aircraft-2013b" / "data"
    data.mkdir(parents=True)
    (data / "variants.txt").write_text("707-320\nYak-42\n")
    for part, first in (("trainval", 0), ("test", 100)):
        lines = []
        for i in range(first, first + 8):
            picture(data / "images" / f"{i:07d}.jpg", seed=i)
            lines.append(f"{i:07d} {('707-320', 'Yak-42')[i % 2]}")
        (data / f"images_variant_{part}.txt").write_text("\n".join(lines))


def stanford_cars(root: Path) -> None:
    from scipy.io import savemat

    base = root / "stanford_cars"
    (base / "devkit").mkdir(parents=True)
    savemat(base / "devkit" / "cars_meta.mat", {"class_names": np.array(["Audi", "BMW"], dtype=object)})
    paths = {"train": base / "devkit" / "cars_train_annos.mat", "test": base / "cars_test_annos_withlabels.mat"}
    for part, path in paths.items():
        kind = np.dtype([("fname", object), ("class", object)])
        rows = np.array([(f"{i:05d}.jpg", i % 2 + 1) for i in range(8)], dtype=kind)
        savemat(path, {"annotations": rows})
        for i in range(8):
            picture(base / f"cars_{part}" / f"{i:05d}.jpg", seed=hash_of(f"{part}{i}"))


def clevr(root: Path) -> None:
    base = root / "clevr" / "CLEVR_v1.0"
    (base / "scenes").mkdir(parents=True)
    for part, count in (("train", 9), ("val", 6)):
        scenes = []
        for i in range(count):
            name = picture(base / "images" / part / f"CLEVR_{part}_{i:06d}.png", seed=i).name
            scenes.append({"image_filename": name, "objects": [{}] * (3 + i % 3)})
        (base / "scenes" / f"CLEVR_{part}_scenes.json").write_text(json.dumps({"scenes": scenes}))


def medmnist(
    path: Path, classes: int = 2, counts: tuple[int, int, int] = (12, 4, 6), size: int = 28, channels: int = 1
) -> Path:
    """Write a file of the medmnist package's format, train, val and test of so many pictures, classes in turn."""
    np.savez_compressed(path, **medical_arrays(classes, counts, size, channels))  # type: ignore[arg-type]
    return path


def medical_arrays(
    classes: int = 2, counts: tuple[int, int, int] = (12, 4, 6), size: int = 28, channels: int = 1
) -> dict[str, np.ndarray]:  # type: ignore[type-arg]
    """Return the arrays of such a file: noise, brighter from class to class."""
    made = {}
    for part, count in zip(("train", "val", "test"), counts, strict=True):
        rng = np.random.default_rng(count)
        labels = np.arange(count) % classes
        shape = (count, size, size) if channels == 1 else (count, size, size, channels)
        bright = (labels * (150 // classes)).reshape(-1, *[1] * (len(shape) - 1))
        made[f"{part}_images"] = (rng.integers(0, 100, shape) + bright).astype(np.uint8)
        made[f"{part}_labels"] = labels.astype(np.uint8)[:, None]
    return made


# The sets whose loader takes whatever lies in the layout; the others compare MD5 sums each time.
TORCHVISION: dict[str, Callable[[Path], None]] = {
    maker.__name__: maker
    for maker in (
        caltech101,
        clevr,
        country211,
        dtd,
        emnist_letters,
        eurosat,
        fgvc_aircraft,
        food101,
        gtsrb,
        imagenette_160px,
        mnist,
        oxford_iiit_pet,
        qmnist,
        rendered_sst2,
        stanford_cars,
        sun397,
        usps,
    )
}


def text_file(path: Path, each: int = 10) -> Path:
    """Write a table of short texts of two classes."""
    path = path.with_suffix(".csv")
    rows = [f'"the plot of film {i}, it was {word}",{word}' for i in range(each) for word in ("good", "bad")]
    path.write_text("\n".join(["text,label", *rows]) + "\n", encoding="utf-8")
    return path


def hub_folder(path: Path, each: int = 10) -> Path:
    """Make a folder in the Hugging Face hub's format, of short texts of two classes without a split for test."""
    rows = [
        {"text": f"the plot of film {i}, it was {word}", "label": word} for i in range(each) for word in ("good", "bad")
    ]
    path.mkdir(parents=True)
    (path / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path
