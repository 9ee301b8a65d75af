"""The short form of `python -m tests.faults.kills`: a few kills at random moments."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from faults.kills import Tally, story, undisturbed


@pytest.mark.slow
def test_a_suite_that_is_killed_again_and_again_gives_the_numbers_of_one_that_is_not(tmp_path: Path) -> None:
    tally = Tally()
    story(tmp_path / "killed", undisturbed(tmp_path / "undisturbed"), 2, random.Random(), tally)
    assert tally.wrong == []
