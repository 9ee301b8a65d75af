"""What is known of torchvision's classification sets, one row a set."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

Options = Mapping[str, Any]

SEE_SOURCE = "see source"


@dataclass(frozen=True)
class Published:
    """One set: what its authors say of it, and how torchvision's loader gives it.

    loader       the class in torchvision.datasets
    classes      how many there are
    counts       examples of the training pool and of test; without `test`, of all, which the harness splits
    files        what torchvision keeps it in, below the folder that it calls root
    labels       the loader's attribute with the labels, or with tuples that end in them
    train, test  the loader's options for the parts that make up each split; a `val` part joins the training pool
    names        the loader's attribute with the class names, if it has one
    order        the loader's attribute with file names to sort by, where it lists files in the order of the disk
    grey         the pictures have one channel
    by_hand      torchvision can't download it
    home         the folder in the cache, shared by sets that come in one archive; by default the set's name
    """

    name: str
    loader: str
    classes: int
    counts: tuple[int, ...]
    licence: str
    source: str
    files: tuple[str, ...]
    labels: str
    train: tuple[Options, ...] = ({"split": "train"},)
    test: tuple[Options, ...] = ({"split": "test"},)
    names: str = "classes"
    order: str | None = None
    grey: bool = False
    by_hand: bool = False
    home: str | None = None


FLAG: dict[str, Any] = {"train": ({"train": True},), "test": ({"train": False},)}
WITH_VAL: dict[str, Any] = {"train": ({"split": "train"}, {"split": "val"})}
UNSPLIT: dict[str, Any] = {"train": ({},), "test": ()}


def _mnist(name: str, loader: str, licence: str, source: str, test: int = 10_000) -> Published:
    return Published(
        name, loader, 10, (60_000, test), licence, source, (f"{loader}/raw",), labels="targets", grey=True, **FLAG
    )


def _emnist(split: str, classes: int, train: int, test: int) -> Published:
    return Published(
        name=f"emnist_{split}",
        loader="EMNIST",
        classes=classes,
        counts=(train, test),
        licence=SEE_SOURCE,
        source="https://www.nist.gov/itl/products-and-services/emnist-dataset",
        files=("EMNIST/raw",),
        labels="targets",
        train=({"split": split, "train": True},),
        test=({"split": split, "train": False},),
        grey=True,
        home="emnist",
    )


def _cifar(classes: int, folder: str) -> Published:
    source = "https://www.cs.toronto.edu/~kriz/cifar.html"
    counts = (50_000, 10_000)
    return Published(
        f"cifar{classes}", f"CIFAR{classes}", classes, counts, SEE_SOURCE, source, (folder,), labels="targets", **FLAG
    )


def _imagenette(name: str, folder: str, size: str) -> Published:
    return Published(
        name=name,
        loader="Imagenette",
        classes=10,
        counts=(9_469, 3_925),
        licence=SEE_SOURCE,
        source="https://github.com/fastai/imagenette",
        files=(folder,),
        labels="_samples",
        train=({"split": "train", "size": size},),
        test=({"split": "val", "size": size},),
    )


# Left out: ImageNet, Places365, iNaturalist and LSUN (hundreds of gigabytes; name your copy as an image_folder), PCAM
# (its labels can't be read without its pictures), Omniglot and LFW (other classes in test than in train), FER2013 (the
# usual copy has no test labels), video and attributes.
PUBLISHED: tuple[Published, ...] = (
    _mnist("mnist", "MNIST", "CC BY-SA 3.0", "http://yann.lecun.com/exdb/mnist"),
    _mnist("kmnist", "KMNIST", "CC BY-SA 4.0", "http://codh.rois.ac.jp/kmnist"),
    _mnist("qmnist", "QMNIST", SEE_SOURCE, "https://github.com/facebookresearch/qmnist", test=60_000),
    _emnist("balanced", 47, 112_800, 18_800),
    _emnist("byclass", 62, 697_932, 116_323),
    _emnist("bymerge", 47, 697_932, 116_323),
    _emnist("digits", 10, 240_000, 40_000),
    _emnist("letters", 26, 124_800, 20_800),
    _cifar(10, "cifar-10-batches-py"),
    _cifar(100, "cifar-100-python"),
    _imagenette("imagenette", "imagenette2", "full"),
    _imagenette("imagenette_160px", "imagenette2-160", "160px"),
    _imagenette("imagenette_320px", "imagenette2-320", "320px"),
    Published(
        name="caltech101",
        loader="Caltech101",
        classes=101,
        counts=(8_677,),
        licence="CC BY 4.0",
        source="https://data.caltech.edu/records/mzrjq-6wc02",
        files=("caltech101/101_ObjectCategories",),
        labels="y",
        names="categories",
        **UNSPLIT,
    ),
    Published(
        name="caltech256",
        loader="Caltech256",
        classes=257,
        counts=(30_607,),
        licence="CC BY 4.0",
        source="https://data.caltech.edu/records/nyy15-4j048",
        files=("caltech256/256_ObjectCategories",),
        labels="y",
        names="categories",
        **UNSPLIT,
    ),
    Published(
        name="clevr",
        loader="CLEVRClassification",
        classes=8,
        counts=(70_000, 15_000),
        licence="CC BY 4.0",
        source="https://cs.stanford.edu/people/jcjohns/clevr",
        files=("clevr/CLEVR_v1.0",),
        labels="_labels",
        test=({"split": "val"},),
    ),
    Published(
        name="country211",
        loader="Country211",
        classes=211,
        counts=(42_200, 21_100),
        licence=SEE_SOURCE,
        source="https://github.com/openai/CLIP/blob/main/data/country211.md",
        files=("country211",),
        labels="targets",
        train=({"split": "train"}, {"split": "valid"}),
    ),
    Published(
        name="dtd",
        loader="DTD",
        classes=47,
        counts=(3_760, 1_880),
        licence=SEE_SOURCE,
        source="https://www.robots.ox.ac.uk/~vgg/data/dtd",
        files=("dtd",),
        labels="_labels",
        **WITH_VAL,
    ),
    Published(
        name="eurosat",
        loader="EuroSAT",
        classes=10,
        counts=(27_000,),
        licence="MIT",
        source="https://github.com/phelber/EuroSAT",
        files=("eurosat/2750",),
        labels="targets",
        **UNSPLIT,
    ),
    Published(
        name="fgvc_aircraft",
        loader="FGVCAircraft",
        classes=100,
        counts=(6_667, 3_333),
        licence="non-commercial research",
        source="https://www.robots.ox.ac.uk/~vgg/data/fgvc-aircraft",
        files=("fgvc-aircraft-2013b",),
        labels="_labels",
        train=({"split": "trainval"},),
    ),
    Published(
        name="flowers102",
        loader="Flowers102",
        classes=102,
        counts=(2_040, 6_149),
        licence=SEE_SOURCE,
        source="https://www.robots.ox.ac.uk/~vgg/data/flowers/102",
        files=("flowers-102",),
        labels="_labels",
        **WITH_VAL,
    ),
    Published(
        name="food101",
        loader="Food101",
        classes=101,
        counts=(75_750, 25_250),
        licence=SEE_SOURCE,
        source="https://data.vision.ee.ethz.ch/cvl/datasets_extra/food-101",
        files=("food-101",),
        labels="_labels",
    ),
    Published(
        name="gtsrb",
        loader="GTSRB",
        classes=43,
        counts=(26_640, 12_630),
        licence=SEE_SOURCE,
        source="https://benchmark.ini.rub.de",
        files=("gtsrb",),
        labels="_samples",
    ),
    Published(
        name="oxford_iiit_pet",
        loader="OxfordIIITPet",
        classes=37,
        counts=(3_680, 3_669),
        licence="CC BY-SA 4.0",
        source="https://www.robots.ox.ac.uk/~vgg/data/pets",
        files=("oxford-iiit-pet",),
        labels="_labels",
        train=({"split": "trainval"},),
    ),
    Published(
        name="rendered_sst2",
        loader="RenderedSST2",
        classes=2,
        counts=(7_792, 1_821),
        licence=SEE_SOURCE,
        source="https://github.com/openai/CLIP/blob/main/data/rendered-sst2.md",
        files=("rendered-sst2",),
        labels="_samples",
        **WITH_VAL,
    ),
    Published(
        name="semeion",
        loader="SEMEION",
        classes=10,
        counts=(1_593,),
        licence="CC BY 4.0",
        source="https://archive.ics.uci.edu/dataset/178/semeion+handwritten+digit",
        files=("semeion.data",),
        labels="labels",
        grey=True,
        **UNSPLIT,
    ),
    Published(
        name="stanford_cars",
        loader="StanfordCars",
        classes=196,
        counts=(8_144, 8_041),
        licence=SEE_SOURCE,
        source="https://ai.stanford.edu/~jkrause/cars/car_dataset.html",
        files=("stanford_cars",),
        labels="_samples",
        by_hand=True,
    ),
    Published(
        name="stl10",
        loader="STL10",
        classes=10,
        counts=(5_000, 8_000),
        licence=SEE_SOURCE,
        source="https://cs.stanford.edu/~acoates/stl10",
        files=("stl10_binary",),
        labels="labels",
    ),
    Published(
        name="sun397",
        loader="SUN397",
        classes=397,
        counts=(108_754,),
        licence=SEE_SOURCE,
        source="https://vision.princeton.edu/projects/2010/SUN",
        files=("SUN397",),
        labels="_labels",
        order="_image_files",
        **UNSPLIT,
    ),
    Published(
        name="svhn",
        loader="SVHN",
        classes=10,
        counts=(73_257, 26_032),
        licence="non-commercial use",
        source="http://ufldl.stanford.edu/housenumbers",
        files=("train_32x32.mat", "test_32x32.mat"),
        labels="labels",
    ),
    Published(
        name="usps",
        loader="USPS",
        classes=10,
        counts=(7_291, 2_007),
        licence=SEE_SOURCE,
        source="https://www.csie.ntu.edu.tw/~cjlin/libsvmtools/datasets/multiclass.html#usps",
        files=("usps.bz2", "usps.t.bz2"),
        labels="targets",
        grey=True,
        **FLAG,
    ),
)
