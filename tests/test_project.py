"""The repository's own rules: who imports whom, what is exported, what the C comments promise."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import ringbus
from ringbus import errors

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "ringbus"
LONGEST_FILE = 400  # lines

# Arrows point upwards in this list only: a module imports from rows above its own. A package counts
# as one; its modules may import each other, but not in a circle.
LEVELS = (
    # 0: nothing of ours
    ("_access", "_build", "_closing", "_console", "_open_files", "_signals", "errors", "settings"),
    # 1: the C core and its only user
    ("_core",),
    ("_native",),
    # 2: events and how they are written
    ("events",),
    ("choice", "sse"),
    # 3: the ring, the history
    ("ring",),
    ("history",),
    # 4: both together, and what uses them
    ("agents", "recent"),
    ("persister",),
    ("follow", "removal", "transfer"),
    ("bus",),
    ("harness",),
    # the face
    ("__init__",),
    # 5 and 6
    ("supervisor",),
    ("web",),
    ("demo",),
    ("cli",),
    ("__main__",),
)
LEVEL = {name: level for level, names in enumerate(LEVELS) for name in names}


def modules() -> dict[str, Path]:
    """Dotted names inside the package, without "ringbus."; the face is "__init__"."""
    found = {}
    for path in PACKAGE.rglob("*.py"):
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        found[".".join(parts[:-1] if len(parts) > 1 and parts[-1] == "__init__" else parts)] = path
    return found


MODULES = modules()


def named(dotted: str) -> str | None:
    """The module that a dotted name is, or is in; None if it is not ours."""
    first, *rest = dotted.split(".")
    if first != "ringbus":
        return None
    while rest:
        name = ".".join(rest)
        if name in MODULES or name == "_core":
            return name
        rest.pop()
    return "__init__"


def imports(path: Path) -> set[str]:
    """All modules of ours that a file imports, inside functions too."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return {found for name in names if (found := named(name)) is not None}


def package_of(module: str) -> str:
    return module.split(".", maxsplit=1)[0]


@pytest.mark.parametrize("module", sorted(MODULES))
def test_imports_follow_the_arrows(module: str) -> None:
    """Whatever a module imports stands above it."""
    own = package_of(module)
    assert own in LEVEL, f"ringbus/{own} has no place in LEVELS yet"
    for imported in imports(MODULES[module]):
        above = package_of(imported)
        if above != own:
            assert LEVEL[above] < LEVEL[own], f"{module} imports {imported}, which is not above it"


def test_levels_name_only_what_there_is() -> None:
    """The table has no row for what is gone."""
    assert set(LEVEL) - {"_core"} == {package_of(module) for module in MODULES}


def test_nothing_imports_in_a_circle() -> None:
    """Within a package, too; its `__init__` apart, which may be all that its modules make up."""
    graph = {module: imports(path) - {module} for module, path in MODULES.items()}
    assert list(TopologicalSorter(graph).static_order())


def test_face_exports_all_that_it_imports_sorted() -> None:
    """`__all__` is what `ringbus/__init__.py` takes from its modules, and the version."""
    tree = ast.parse((PACKAGE / "__init__.py").read_text())
    taken = {
        alias.asname or alias.name
        for node in tree.body
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("ringbus")
        for alias in node.names
    }
    assert set(ringbus.__all__) == taken | {"__version__"}
    assert ringbus.__all__ == sorted(ringbus.__all__)
    assert all(hasattr(ringbus, name) for name in ringbus.__all__)


def test_face_exports_every_exception() -> None:
    """Whatever ringbus raises on purpose can be caught by its name."""
    raised = {
        name
        for name, value in vars(errors).items()
        if isinstance(value, type) and issubclass(value, errors.RingbusError)
    }
    assert raised <= set(ringbus.__all__)


def test_importing_ringbus_leaves_the_web_alone() -> None:
    """An emitter pays for no page."""
    code = "import sys, ringbus; print(*sorted(sys.modules))"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(run.stdout.split())
    assert not loaded & {"flask", "gunicorn", "werkzeug", "jinja2", "click", "rich"}


def test_version_is_the_projects() -> None:
    """One version, in pyproject.toml."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert ringbus.__version__ == project["version"]


TEXTS = (".py", ".pyi", ".c", ".h", ".md", ".html", ".css", ".js")


@pytest.mark.parametrize("folder", ["ringbus", "csrc"])
def test_no_file_is_too_long(folder: str) -> None:
    """Longer ones are split by what they are responsible for."""
    texts = [path for path in (ROOT / folder).rglob("*") if path.suffix in TEXTS]
    assert texts
    lengths = {str(path): len(path.read_text().splitlines()) for path in texts}
    assert not {path: length for path, length in lengths.items() if length > LONGEST_FILE}


# Labels of ordered accesses: "[publish:A] seq_cst ...; pairs with [read:A]".

LABEL = r"\[(\w+:[A-Z])\]"
ORDER = r"(?:acquire|release|acq_rel|seq_cst)"


def comments() -> list[tuple[str, str]]:
    """File and text of all comments of the core."""
    return [
        (path.name, re.sub(r"\s*\n\s*\*\s*", " ", text))
        for path in sorted((ROOT / "csrc").glob("*.[ch]"))
        for text in re.findall(r"/\*.*?\*/", path.read_text(), re.DOTALL)
    ]


def defined_labels() -> set[str]:
    """Those that stand at an access: at a comment's start, or before the name of an order."""
    at_access = re.compile(rf"(?:^/\* {LABEL})|(?:{LABEL} {ORDER})")
    return {one or other for _, text in comments() for one, other in at_access.findall(text)}


def test_every_label_has_its_partner() -> None:
    """Whatever a comment pairs with, or speaks of, stands at an access somewhere."""
    defined = defined_labels()
    assert len(defined) > 20
    pairs = 0
    for file, text in comments():
        for label in re.findall(LABEL, text):
            assert label in defined, f"{file}: [{label}] stands at no access"
        pairs += len(re.findall(rf"pairs with {LABEL}", text))
    assert pairs > 20


def test_readme_lists_every_label() -> None:
    """Its table of ordered pairs is the code's, no more and no less, with the same orders."""
    rows = re.findall(
        rf"^\| {LABEL} [^|]*\| ({ORDER})[^|]*\| ([^|]*)\|",
        (ROOT / "csrc/README.md").read_text(),
        re.MULTILINE,
    )
    listed = {label: order for label, order, _ in rows}
    assert set(listed) == defined_labels()
    for _, text in comments():
        for label, order in re.findall(rf"{LABEL} ({ORDER})", text):
            assert listed[label] == order, label
    for label, _, partners in rows:
        assert set(re.findall(LABEL, partners)) <= set(listed), label
