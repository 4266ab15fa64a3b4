"""Talk to the person at the terminal: one line on stderr at a time."""

import sys


def warn(text: str) -> None:
    """Writes `ringbus: <text>` to stderr. A stderr that is gone is no reason to fail."""
    try:
        print(f"ringbus: {text}", file=sys.stderr, flush=True)
    except OSError:
        return
