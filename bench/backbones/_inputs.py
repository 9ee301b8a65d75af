"""What models want to see, and what flows between their stages. Device half."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple, Protocol, TypeVar

import torch
from torch import Tensor

# Texts are padded to a multiple of so many tokens, so that batches have few shapes. Of 500 film reviews 32 at a time a
# third of what is computed is padding with 16, a quarter with 8.
STEP = 8


class Tokens(NamedTuple):
    """Texts on their way through the stages of an encoder.

    `states` int [batch, length], ids of tokens, before the first stage, then float [batch, length, width]; `mask` bool
    [batch, length], True where there is text. What stands in `states` where there is none changes no output.
    """

    states: Tensor
    mask: Tensor


# What one stage gives the next: pictures, feature maps and pooled features are tensors.
Flow = Tensor | Tokens
F = TypeVar("F", Tensor, Tokens, Flow)


def each(change: Callable[[Tensor], Tensor], x: F) -> F:
    """Return what flows with each of its tensors changed."""
    return change(x) if isinstance(x, Tensor) else Tokens(change(x.states), change(x.mask))


def tensors(x: Flow) -> tuple[Tensor, ...]:
    """Return the tensors of what flows, as the arguments of a library's own model."""
    return (x,) if isinstance(x, Tensor) else tuple(x)


class Inputs(Protocol):
    """What a model wants to see of examples of one modality.

    `extent` says how large one is, in the modality's own unit, `{"resolution": pixels}` or `{"length": tokens}`: all
    that is measured of a model is measured at it. `noise` draws a batch of `count` prepared examples, `blank` gives
    one without content, of another `size` where one is named; both are as they come to the first stage, on the CPU.
    """

    modality: ClassVar[str]

    @property
    def extent(self) -> Mapping[str, int]: ...

    def noise(self, count: int, generator: torch.Generator) -> Flow: ...

    def blank(self, count: int, size: int | None = None) -> Flow: ...


@dataclass(frozen=True)
class PictureInputs:
    """Square pictures of `resolution` pixels, scaled to [0, 1], then (x - mean) / std: float [batch, 3, edge, edge].

    `interpolation` is "bilinear", "bicubic", "nearest" or "lanczos".
    """

    modality: ClassVar[str] = "image"

    resolution: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    interpolation: str

    @property
    def extent(self) -> Mapping[str, int]:
        return {"resolution": self.resolution}

    def noise(self, count: int, generator: torch.Generator) -> Tensor:
        return torch.randn(count, 3, self.resolution, self.resolution, generator=generator)

    def blank(self, count: int, size: int | None = None) -> Tensor:
        edge = size or self.resolution
        return torch.zeros(count, 3, edge, edge)


class Tokenizer(Protocol):
    """Turns texts into ids of tokens, below `vocabulary`; `digest` names everything that can change an id.

    `encode` gives, for each text, at most `length` ids with those that mark its ends, and `pieces` what of a text each
    of these ids stands for, ends by their names: one after the other they are the text. `blank` is the id of a token
    that says nothing: padding.
    """

    digest: str
    vocabulary: int
    blank: int

    def encode(self, texts: Sequence[str], length: int) -> list[list[int]]: ...

    def pieces(self, text: str, length: int) -> list[str]: ...


@dataclass(frozen=True)
class TextInputs:
    """Texts of at most `length` tokens. The model takes as many as the next multiple of `STEP`."""

    modality: ClassVar[str] = "text"

    length: int
    tokenizer: Tokenizer

    @property
    def extent(self) -> Mapping[str, int]:
        return {"length": self.length}

    def noise(self, count: int, generator: torch.Generator) -> Tokens:
        ids = torch.randint(self.tokenizer.vocabulary, (count, self.length), generator=generator, dtype=torch.int32)
        return Tokens(ids, torch.ones(count, self.length, dtype=torch.bool))

    def blank(self, count: int, size: int | None = None) -> Tokens:
        ids = torch.zeros(count, size or self.length, dtype=torch.int32)
        return Tokens(ids, torch.ones_like(ids, dtype=torch.bool))

    def __deepcopy__(self, memo: dict[int, Any]) -> TextInputs:
        """Return itself: a tokenizer never changes, and is slow to copy."""
        return self
