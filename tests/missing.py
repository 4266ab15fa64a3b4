"""What a machine may lack: a test goes without it, but not in CI."""

from __future__ import annotations

import os
from typing import NoReturn

import pytest


def go_without(reason: str) -> NoReturn:
    """Skips the test; fails it where CI is set, which is to run everything."""
    if os.environ.get("CI"):
        pytest.fail(f"CI is set, so this has to run, but {reason}", pytrace=False)
    pytest.skip(reason)
