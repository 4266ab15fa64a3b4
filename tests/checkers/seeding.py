"""Seeded defects: copies of the C core that are broken on purpose, so that a checker can fail."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from checkers.building import CORE, compile_sources, link
from checkers.verdict import BrokenError


@dataclass(frozen=True)
class Defect:
    """A text of a source, and what stands in its place in a broken copy.

    Each checker adds what is to catch it.
    """

    name: str
    file: str
    old: str
    new: str
    also: tuple[tuple[str, str, str], ...] = field(default=(), kw_only=True)  # file, old, new

    @property
    def changes(self) -> tuple[tuple[str, str, str], ...]:
        return ((self.file, self.old, self.new), *self.also)


def seed(defect: Defect, folder: Path) -> Path:
    """A copy of the core that has the defect."""
    core = folder / "csrc"
    shutil.copytree(CORE, core)
    for file, old, new in defect.changes:
        text = (core / file).read_text()
        if text.count(old) != 1:
            raise BrokenError(f"{file} does not have {old!r} once: renew {defect.name!r}")
        (core / file).write_text(text.replace(old, new))
    return core


def build_seeded(defect: Defect, objects: Mapping[str, Path], folder: Path) -> Path:
    """The program of these objects with the defect; only the sources that have it are compiled."""
    folder.mkdir()
    core = seed(defect, folder)
    changed = sorted({core / file for file, _, _ in defect.changes})
    broken = {**objects, **compile_sources(changed, folder, core)}
    return link(broken.values(), folder / "seeded")
