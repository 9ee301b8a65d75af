"""Write a folder that stands in for a clinic's where no medical pictures can be had: clothing, and called that.

python suites/standin.py FOLDER writes FOLDER/CLASS/*.png from Fashion-MNIST: three kinds of tops that are easily taken
for each other, grey and 28 pixels like many sets of MedMNIST, and as uneven as diagnoses are: for one coat there are
two shirts and six pullovers.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from PIL import Image

from bench.datasets import datasets

COUNTS = {"Pullover": 900, "Shirt": 300, "Coat": 150}


def write(folder: Path) -> None:
    """Write the pictures, the first of each class in the order of the data set."""
    dataset = datasets.create({"name": "fashion_mnist"})
    dataset.fetch()
    classes, examples = dataset.facts().classes or (), dataset.examples("train")
    for name, count in COUNTS.items():
        (folder / name).mkdir(parents=True)
        for i in np.flatnonzero(examples.labels == classes.index(name))[:count]:
            Image.fromarray(examples.read(int(i))).save(folder / name / f"{i:05d}.png")


if __name__ == "__main__":
    if len(sys.argv) != 2 or Path(sys.argv[1]).exists():
        sys.exit("usage: python suites/standin.py FOLDER, a folder that is not there yet")
    write(Path(sys.argv[1]))
