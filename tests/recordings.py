"""What agents really printed, where it is at hand: input that nobody made up for a test."""

from __future__ import annotations

import os
from pathlib import Path

MISSING = "no recordings: set RINGBUS_RECORDINGS to a folder of .jsonl files"


def recorded_files() -> list[Path]:
    """What RINGBUS_RECORDINGS names, else what lies beside the project; maybe nothing."""
    named = os.environ.get("RINGBUS_RECORDINGS")
    folder = Path(named) if named else Path(__file__).parents[2] / "shared" / "recordings"
    if not folder.is_dir():
        return []
    files = sorted(folder.glob("*.jsonl")) + sorted(folder.glob("*.txt"))
    assert files, f"{folder} holds no recordings"
    return files
