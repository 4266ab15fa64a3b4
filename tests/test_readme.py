"""The README is true: its examples run, its verbs exist, its picture is there."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from turns import Agent

from ringbus.cli import cli

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text()
EXAMPLES = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
EXPECTED = (
    "0 TurnStart(from_='operator', body='fix the build')",
    "payload=b'hello'",
)


@pytest.mark.slow
@pytest.mark.parametrize(("example", "expected"), list(zip(EXAMPLES, EXPECTED, strict=True)))
def test_example_runs(agent: Agent, example: str, expected: str) -> None:
    """Each example prints what a reader would expect of it."""
    for name in ("agent-7", "frames"):
        example = example.replace(name, agent.name)
    done = subprocess.run(
        [sys.executable, "-c", example],
        env={**os.environ, "RINGBUS_STATE": str(agent.state)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert expected in done.stdout


def test_verbs_exist() -> None:
    """Every `ringbus VERB` of the README is one."""
    verbs = set(re.findall(r"ringbus ([a-z]+)\b", " ".join(re.findall(r"`[^`]+`", README))))
    assert {"run", "up"} <= verbs
    assert verbs <= set(cli.commands)


def test_files_it_points_to_are_there() -> None:
    """Links and pictures lead somewhere."""
    targets = re.findall(r"\]\(([^)#]+)\)", README)
    assert targets
    assert [target for target in targets if not (ROOT / target).exists()] == []
