"""A test that measures time has the machine to itself, whatever other processes of the tests do."""

from __future__ import annotations

from pathlib import Path
from threading import Event, Thread

from places import place


class Visitor(Thread):
    """Goes into the room, and out when it is told."""

    def __init__(self, folder: Path, *, alone: bool) -> None:
        super().__init__(daemon=True)
        self.folder, self.alone, self.inside, self.leave = folder, alone, Event(), Event()
        self.start()

    def run(self) -> None:
        with place(self.folder, alone=self.alone):
            self.inside.set()
            self.leave.wait(10)

    def is_in(self, within: float = 10.0) -> bool:
        return self.inside.wait(within)


def test_many_are_in_together_and_who_is_alone_waits_for_them_and_then_they_for_it(tmp_path: Path) -> None:
    first, second = Visitor(tmp_path, alone=False), Visitor(tmp_path, alone=False)
    assert first.is_in()
    assert second.is_in()
    alone = Visitor(tmp_path, alone=True)
    assert not alone.is_in(0.1)
    later = Visitor(tmp_path, alone=False)  # comes after, and may not keep it waiting
    first.leave.set()
    assert not alone.is_in(0.1)
    assert not later.inside.is_set()
    second.leave.set()
    assert alone.is_in()
    assert not later.is_in(0.1)
    alone.leave.set()
    assert later.is_in()
    later.leave.set()
