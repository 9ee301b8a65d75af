"""What data sets of texts share."""

from __future__ import annotations

from bench.errors import OptionError

MAX_TOKENS = 8192


def check_max_length(max_length: int | None) -> None:
    """Raise OptionError unless `max_length` is None or a number of tokens that a text may have, with its two ends."""
    if max_length is not None and not 3 <= max_length <= MAX_TOKENS:
        raise OptionError(f"max_length must be 3 to {MAX_TOKENS:,} tokens, not {max_length}", ("max_length",))
