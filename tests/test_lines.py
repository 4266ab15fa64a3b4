"""Lines out of pieces, and the files of those that are too long."""

from __future__ import annotations

import tempfile
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from ringbus.harness.lines import HEAD_BYTES, LineSplitter, LongLine, keep_line

LIMIT = 10
pieces = st.lists(st.lists(st.sampled_from([b"a", b"\n", b"bcdef", b"\r", b"\0"])).map(b"".join))


def whole(line: bytes | LongLine) -> bytes:
    """The line, from its file if it has one."""
    if isinstance(line, bytes):
        assert len(line) <= LIMIT
        return line
    assert line.file is not None
    data = line.file.read_bytes()
    assert (len(data), data[:HEAD_BYTES]) == (line.size, line.head)
    assert line.size > LIMIT
    return data


@given(pieces)
def test_lines_are_those_of_the_whole_stream(cut: list[bytes]) -> None:
    """However a stream is cut, its lines are the same, and long ones are in files."""
    with tempfile.TemporaryDirectory() as folder:
        splitter = LineSplitter(LIMIT, Path(folder) / "x.lines")
        lines = [whole(line) for piece in cut for line in splitter.feed(piece)]
        lines += [whole(line) for line in splitter.finish()]
    stream = b"".join(cut)
    expected = stream.split(b"\n")
    assert lines == (expected if expected[-1] else expected[:-1])


def test_head_is_the_beginning_of_a_long_line(tmp_path: Path) -> None:
    """It is kept for the note; the rest is in the file alone."""
    line = b"ab" * HEAD_BYTES
    kept = keep_line(line, tmp_path / "x.lines")
    assert (kept.head, kept.size, kept.problem) == (line[:HEAD_BYTES], len(line), None)


def test_file_that_cannot_be_made_is_a_problem_told(tmp_path: Path) -> None:
    """The line is not lost silently: its head, its size and the reason remain."""
    (tmp_path / "file").write_text("")
    kept = keep_line(b"x" * 100, tmp_path / "file" / "x.lines")
    assert (kept.head, kept.size, kept.file) == (b"x" * 100, 100, None)
    assert kept.problem
