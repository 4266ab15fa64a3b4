"""Packages from npm, exactly those that a lock file names."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from missing import go_without
from turns import DEADLINE_SECONDS


def install(source: Path, folder: Path) -> None:
    """Puts all files of `source` into `folder`, with the packages they ask for beside them."""
    npm = shutil.which("npm")
    if npm is None:
        go_without("there is no npm: apt install nodejs npm")
    for file in source.iterdir():
        if file.is_file():
            shutil.copy(file, folder)
    ran = subprocess.run(
        [npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund"],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=2 * DEADLINE_SECONDS,
        check=False,
    )
    if ran.returncode:
        go_without(f"npm could not install what {source.name} asks for: {ran.stderr[-500:]}")
