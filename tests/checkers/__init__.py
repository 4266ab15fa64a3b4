"""What the programs of `make verify` share.

Each is run as `python tests/<folder>/<program>.py`, so it appends `tests` to `sys.path` before it
imports from here; for pytest, pyproject.toml has done so.
"""
