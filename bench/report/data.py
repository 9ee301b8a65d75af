"""The data that a study learnt from: what its survey found, and what of it stands beside every answer."""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bench.errors import printable
from bench.report.canvas import COLOURS, Drawing, new_canvas, one_plot, own_style, saved
from bench.report.page import Block, Bullets, Fold, Heading, Paragraph, Span, Table, Words
from bench.report.study import Section, Study
from bench.report.units import MISSING, listing, sentence, significant
from bench.survey import CELL_PX, GAP_PX, Pictures, Survey, Texts, Twins

if TYPE_CHECKING:
    from bench.report.page import Figure

# From here on the largest class hides what becomes of the smallest.
IMBALANCED = 3.0
# Twins move accuracy by at most their share of the test: below this, not by what the answer shows.
LEAK_SHARE = 0.005
# More classes than these are no longer drawn, or listed.
MOST_BARS, MOST_ROWS = 30, 60
# More data sets than this are told of in words alone.
MOST_DRAWN = 4
SHEET_CELL_INCHES, LONGEST_NAME = 0.62, 24
# Texts of more classes are opened by the reader.
MOST_OPEN = 4
# What stands beside the rows of the sheet.
NAME_INCHES, LETTER_INCHES, WIDEST_INCHES = 0.3, 0.09, 7.0


@dataclass(frozen=True)
class Surveyed:
    """A data set of the study under the name that it has there, its survey, and the classes drawn at each size."""

    name: str
    survey: Survey
    sheet: bytes | None
    drawn: Mapping[int, tuple[int, ...]]

    @property
    def training(self) -> tuple[int, ...]:
        """How many training examples each class has."""
        return self.survey.counts["train"]

    @property
    def imbalance(self) -> float:
        """How many times as many training examples the largest class has as the smallest that has any."""
        held = [count for count in self.training if count]
        return max(held) / min(held) if held else 1.0


def surveyed(study: Study, found: Sequence[Section]) -> tuple[Surveyed, ...]:
    """Return the data sets of a study that have a survey, in the order of its sections."""
    made: dict[str, Surveyed] = {}
    for section in found if study.shelf is not None else ():
        records = [record for line in section.lines for record in line.records]
        spec = records[0].cell.dataset
        if section.dataset in made or study.shelf is None or (survey := study.shelf.survey(spec)) is None:
            continue
        drawn = {r.cell.size: _drawn(r.details.get("drawn")) for r in records if r.status == "ok"}
        fitting = {n: counts for n, counts in sorted(drawn.items()) if len(counts) == len(survey.classes)}
        made[section.dataset] = Surveyed(section.dataset, survey, study.shelf.sheet(spec), fitting)
    return tuple(made.values())


def _drawn(told: object) -> tuple[int, ...]:
    """Return the training examples of each class that a record tells of; none where it does not."""
    counts = told.get("train") if isinstance(told, Mapping) else None
    return tuple(counts) if isinstance(counts, list) and all(isinstance(count, int) for count in counts) else ()


def warnings(data: Sequence[Surveyed]) -> Iterator[Block]:
    """Yield what of the data bears on the answer itself: test examples that were learnt from, and rare classes."""
    for one in data:
        of = f" of {one.name}" if len(data) > 1 else ""
        twins = one.survey.twins
        if twins is not None and _share(twins) >= LEAK_SHARE:
            yield Paragraph(_leak(one.survey, twins, of))
        if one.imbalance > IMBALANCED:
            yield Paragraph((Span(f"Imbalance{of}:", "strong"), Span(" "), *_advice(one)))


def section(data: Sequence[Surveyed], level: int) -> list[Block]:
    """Return what the surveys found, or nothing where there are none."""
    blocks: list[Block] = [Heading("The data", level)] if data else []
    for number, one in enumerate(data, 1):
        if len(data) > 1:
            blocks.append(Heading(one.name, level + 1))
        prefix = f"{number}-" if len(data) > 1 else ""
        blocks += about(one, prefix)
        if len(data) <= MOST_DRAWN:
            blocks += _drawings(one, prefix)
            blocks += _texts(one, prefix)
        blocks += _counts(one, prefix)
    return blocks


def about(one: Surveyed, prefix: str = "") -> Iterator[Block]:
    """Yield what a survey found, in words: a leak first."""
    survey, twins = one.survey, one.survey.twins
    if twins is not None and twins.exact + twins.near:
        yield Paragraph(_leak(survey, twins))
    facts: list[Words] = [_classes(one)]
    if survey.groups is not None:
        facts.append((Span(_groups(survey.groups)),))
    if survey.pictures is not None:
        facts += [(Span(text),) for text in _pictures(survey, survey.pictures)]
    if survey.texts is not None:
        facts += [(Span(text),) for text in _lengths(survey, survey.texts)]
    if twins is not None:
        facts += [(Span(text),) for text in _twins(survey, twins)]
    yield Bullets(tuple(facts))
    if twins is not None and twins.pairs:
        rows = tuple(
            (Span(p.test, "code"), Span(p.train, "code"), Span("yes" if p.exact else "nearly")) for p in twins.pairs
        )
        table = Table(f"{prefix}twins", ("test", "training", "the same"), rows, 3)
        yield Fold(f"Test examples that are in the training pool ({_some(len(rows), twins)})", (table,))


def _some(shown: int, twins: Twins) -> str:
    whole = twins.exact + twins.near
    return f"{shown} of {whole:,}" if shown < whole else f"{whole:,}"


def _classes(one: Surveyed) -> Words:
    survey = one.survey
    held = [count for count in one.training if count]
    totals = f"{survey.total('train'):,} training and {survey.total('test'):,} test examples"
    text = f"{totals} in {len(survey.classes)} classes"
    if one.imbalance > IMBALANCED:
        first, *rest = _advice(one)
        return (Span(f"{text}. {sentence(first.text)}"), *rest)
    many = f"{min(held, default=0):,}" if len(set(held)) < 2 else f"{min(held):,} to {max(held):,}"
    return (Span(f"{text}, {many} of each to train on."),)


def _advice(one: Surveyed) -> Words:
    held = {count: name for name, count in zip(one.survey.classes, one.training, strict=True) if count}
    most, least = max(held), min(held)
    return (
        Span(
            f"the largest class, {held[most]} ({most:,}), has {significant(one.imbalance, 2)} times as many training "
        ),
        Span(f"examples as the smallest, {held[least]} ({least:,}). Accuracy says little of the small ones: "),
        Span("see balanced accuracy and macro-F1, and weigh classes with "),
        Span("recipe.class_weights", "code"),
        Span("."),
    )


def _groups(groups: Mapping[str, int]) -> str:
    told = f"{groups['train']:,} groups to train on, {groups['test']:,} to test on"
    return f"{told}; {groups['both']:,} are in both." if groups["both"] else f"{told}; none is in both."


def _pictures(survey: Survey, found: Pictures) -> Iterator[str]:
    looked = _looked(survey, found.looked)
    first = found.sizes[0]
    colour = "in colour" if any(size.channels == 3 for size in found.sizes) else "grey"
    if found.distinct == 1:
        yield f"Every picture{looked} is {first.height:,} x {first.width:,} pixels (height x width), {colour}."
    else:
        high, wide = found.height, found.width
        yield (
            f"{found.distinct:,} sizes of pictures{looked}: heights {high[0]:,} to {high[2]:,} (median {high[1]:,}), "
            f"widths {wide[0]:,} to {wide[2]:,} (median {wide[1]:,}) pixels, {colour}; most often "
            f"{first.height:,} x {first.width:,} ({first.count:,})."
        )
    pixels = [f"{m:.3f} ± {s:.3f}" for m, s in zip(found.mean, found.std, strict=True)]
    text = f"Pixels from 0 to 1, mean ± deviation of the training pool: {listing(pixels)}"
    text += " (red, green, blue)." if len(pixels) == 3 else "."
    bright = [(value, name) for value, name in zip(found.brightness, survey.classes, strict=True) if value is not None]
    if len(bright) > 1:
        (dark, darkest), (light, lightest) = min(bright), max(bright)
        text += f" Darkest class {darkest} ({dark:.3f}), lightest {lightest} ({light:.3f})."
    yield text
    odd = [f"{found.grey:,} in colour are grey in fact"] if found.grey else []
    odd += [f"{found.blank:,} have one value throughout"] if found.blank else []
    if odd:
        yield f"Of the pictures{looked}, {listing(odd)}."


def _lengths(survey: Survey, found: Texts) -> Iterator[str]:
    for split, (least, low, median, high, most) in found.words.items():
        yield (
            f"Words of a {split} text: {least:,} to {most:,}, half of them {low:,} to {high:,}, median {median:,}"
            f"{_looked(survey, {split: found.looked[split]})}."
        )


def _texts(one: Surveyed, prefix: str) -> Iterator[Block]:
    """Yield a table of texts of each class, opened by the reader where there are many classes."""
    if one.survey.texts is None:
        return
    held = list(zip(one.survey.classes, one.survey.texts.samples, strict=False))
    rows = tuple((Span(name), Span(printable(text))) for name, samples in held for text in samples)
    left = len(one.survey.classes) - len(held)
    caption = "Texts drawn from the training pool" + (f"; {left} more classes are not shown." if left else ".")
    table = Table(f"{prefix}samples", ("class", "text"), rows, 2, caption)
    yield table if len(held) <= MOST_OPEN else Fold(f"Texts of {len(held)} classes", (table,))


def _looked(survey: Survey, looked: Mapping[str, int]) -> str:
    """Say how many were drawn to be looked at, where that were not all."""
    whole = {split: survey.total(split) for split in looked}
    if all(looked[split] == whole[split] for split in looked):
        return ""
    told = [f"{looked[split]:,} of {whole[split]:,} {split}" for split in looked]
    return f" of those drawn to be looked at ({listing(told)})"


def _share(twins: Twins) -> float:
    return (twins.exact + twins.near) / max(twins.compared["test"], 1)


def _leak(survey: Survey, twins: Twins, of: str = "") -> Words:
    both, tested = twins.exact + twins.near, twins.compared["test"]
    how, alike = "nearly", "are nearly the same as"
    if survey.texts is not None:
        how, alike = "but for case and signs", "have the words of"
    nearly = f", and {twins.near:,} of them {how}" if twins.exact and twins.near else ""
    what = f"are in the training pool as well{nearly}" if twins.exact else f"{alike} training examples"
    other = f"; {twins.other_label:,} of them under another label" if twins.other_label else ""
    text = (
        f" {both:,} of {tested:,} test examples ({significant(100 * _share(twins), 2)} %) {what}{other}. A model that "
    )
    text += "has learnt from a twin may know the answer by heart: scores may be too high by up to that share"
    title = f"Leak{of}:" if twins.exact else f"Possible leak{of}:"
    return Span(title, "strong"), Span(f"{text}{_looked(survey, twins.compared)}.")


def _twins(survey: Survey, twins: Twins) -> Iterator[str]:
    if not twins.exact + twins.near:
        how = ", neither value for value nor by perceptual hash" if survey.pictures is not None else ""
        how = ", nor one with the same words" if survey.texts is not None else how
        yield f"No test example is in the training pool as well{how}{_looked(survey, twins.compared)}."
    twice = [f"{count:,} in {split}" for split, count in twins.repeated.items() if count]
    if twice:
        other = f"; {twins.conflicting:,} in train under another label" if twins.conflicting else ""
        yield f"Examples that repeat an earlier one of their split, value for value: {listing(twice)}{other}."


def _drawings(one: Surveyed, prefix: str) -> Iterator[Figure]:
    with own_style():
        for drawing in (_bars(one), _samples(one)):
            if drawing is not None:
                yield saved(drawing, prefix)


def _bars(one: Surveyed) -> Drawing | None:
    classes, counts = one.survey.classes, one.survey.counts
    if len(classes) > MOST_BARS:
        return None
    canvas, axes = one_plot(6.0, max(2.2, 0.9 + 0.34 * len(classes)))
    places = range(len(classes))
    for split, aside, colour in (("train", -0.2, COLOURS[0]), ("test", 0.2, COLOURS[4])):
        axes.barh([p + aside for p in places], counts[split], 0.4, color=colour, label=split)
    axes.set_yticks(list(places), [_short(name) for name in classes])
    axes.invert_yaxis()
    axes.grid(visible=False, axis="y")
    axes.set_xlabel("examples")
    canvas.legend(loc="outside lower center", ncols=2)
    listed = [f"{name} {a:,} and {b:,}" for name, a, b in zip(classes, counts["train"], counts["test"], strict=True)]
    alt = f"Bar chart of training and test examples of each class: {listing(listed)}."
    return Drawing(canvas, "classes", alt, "Examples of each class in the training pool and in the test split.")


def _samples(one: Surveyed) -> Drawing | None:
    """Draw the sheet of samples with the names of its rows, or nothing when it is damaged."""
    import numpy as np
    from PIL import Image

    if one.sheet is None:
        return None
    try:
        with Image.open(io.BytesIO(one.sheet), formats=["PNG"]) as image:
            sheet = np.asarray(image.convert("RGB"))
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return None
    step = CELL_PX + GAP_PX
    rows = one.survey.classes[: max(1, round(sheet.shape[0] / step))]
    names = [_short(name) for name in rows]
    beside = NAME_INCHES + LETTER_INCHES * max(map(len, names))
    # Small enough to stand beside another figure, and on a phone.
    scale = min(SHEET_CELL_INCHES / step, (WIDEST_INCHES - beside) / sheet.shape[1])
    canvas = new_canvas(sheet.shape[1] * scale + beside, sheet.shape[0] * scale + 0.2)
    axes = canvas.subplots()
    axes.imshow(sheet, interpolation="none")
    axes.set_anchor("E")  # what is left of the width is for the names
    axes.set_yticks([step * i + (CELL_PX - 1) / 2 for i in range(len(rows))], names)
    axes.set_xticks([])
    axes.grid(visible=False)
    axes.tick_params(length=0)
    for spine in axes.spines.values():
        spine.set_visible(False)
    left = len(one.survey.classes) - len(rows)
    caption = "Pictures drawn from the training pool, a row for each class"
    caption += f"; {left} more classes are not shown." if left else "."
    return Drawing(canvas, "samples", f"Sheet of sample pictures in rows: {listing(list(rows))}.", caption)


def _short(name: str) -> str:
    return name if len(name) <= LONGEST_NAME else f"{name[: LONGEST_NAME - 1]}…"


def _counts(one: Surveyed, prefix: str) -> Iterator[Block]:
    """Yield a table of the examples of each class, in the splits and among those drawn at each size."""
    survey = one.survey
    columns: dict[str, Sequence[int]] = {"train": survey.counts["train"], "test": survey.counts["test"]}
    columns |= {f"n = {size}": counts for size, counts in one.drawn.items()}
    rows = [(label, [column[i] for column in columns.values()]) for i, label in enumerate(survey.classes)]
    title = f"Examples of each of the {len(survey.classes)} classes"
    if len(rows) > MOST_ROWS:
        rows = [(what, [of(column) for column in columns.values()]) for what, of in (("fewest", min), ("most", max))]
        title = f"{title}: the fewest and the most"
    ratio = [_ratio(column) for column in columns.values()]
    told = [(Span(label), *(Span(f"{count:,}") for count in counts)) for label, counts in rows]
    told.append((Span("most / fewest", "em"), *(Span(text) for text in ratio)))
    caption = "n = ... are those that training saw, in one seed." if one.drawn else ""
    yield Fold(title, (Table(f"{prefix}classes", ("class", *columns), tuple(told), 1, caption),))


def _ratio(counts: Sequence[int]) -> str:
    return significant(max(counts) / min(counts), 2) if counts and min(counts) else MISSING
