"""The walls between the packages (DESIGN 1.5): who may import what, read from the source, and what a quick command loads."""

import ast
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("feeds", "analytics", "tui", "themes")

PURE = frozenset(
    {"__future__", "abc", "bisect", "collections", "dataclasses", "enum", "fnmatch", "functools", "heapq", "itertools", "math"}
    | {"numbers", "operator", "re", "statistics", "string", "types", "typing"}
)
"""What analytics may have of the standard library: no I/O, no clock, no threads, no randomness. `datetime` reads a clock."""
LIBRARIES = frozenset({"msgspec", "numpy", "sortedcontainers"})
WORDS = frozenset({"feeds.model", "feeds.orderbook", "feeds.health", "feeds.venue"})
CLOCK_CONSTANTS = frozenset({"NEVER", "BOUNDARY_NS"})
REACHING_OUT = frozenset({"open", "print", "input", "exec", "eval", "compile", "__import__", "breakpoint"})

TERMINAL = frozenset({"textual", "rich"})
DRAWING = ("tui/app.py", "tui/frame.py", "tui/driver.py", "tui/screens/", "tui/widgets/")


def imports(source: str, package: str) -> Iterator[tuple[str, str]]:
    """(module, name) of every import in a source, also inside functions; name "" for a whole module."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from ((alias.name, "") for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            yield from ((".".join([*base, *filter(None, [node.module])]), alias.name) for alias in node.names)


def names(source: str) -> Iterator[str]:
    return (node.id for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Name))


def breaches(place: str, source: str) -> list[str]:
    """What the source of the file `place` (from the root, with /) imports against the rules."""
    package = ".".join(Path(place).parts[:-1])
    found = list(imports(source, package))
    tops = {f"{module}.{name}" if module in PACKAGES else module: module.partition(".")[0] for module, name in found}
    broken = [f"imports {module}" for module, top in tops.items() if top == "tests"]
    match package.partition(".")[0]:
        case "feeds":
            broken += [f"imports {module}" for module, top in tops.items() if top in ("analytics", "tui", *TERMINAL)]
        case "analytics":
            broken += [f"imports {module} {name}".rstrip() for module, name in found if not _allowed_in_analytics(module, name)]
            broken += [f"uses {name}" for name in names(source) if name in REACHING_OUT]
        case "tui" if not place.startswith(DRAWING):
            broken += [f"imports {module}" for module, top in tops.items() if top in TERMINAL]
        case "themes":
            broken += [f"imports {module}" for module, top in tops.items() if top in (*PACKAGES, *TERMINAL)]
    return broken


def _allowed_in_analytics(module: str, name: str) -> bool:
    top = module.partition(".")[0]
    if top == "numpy":
        return "random" not in (*module.split("."), name)
    if module == "feeds":
        return f"feeds.{name}" in WORDS
    if module == "feeds.clock":
        return name in CLOCK_CONSTANTS
    return top in PURE or top in LIBRARIES or top == "analytics" or module in WORDS


def sources() -> Mapping[str, str]:
    files = (file for package in PACKAGES for file in sorted((ROOT / package).rglob("*.py")))
    return {file.relative_to(ROOT).as_posix(): file.read_text() for file in files}


def test_no_package_reaches_through_a_wall() -> None:
    read = sources()
    assert {place.partition("/")[0] for place in read} == set(PACKAGES)
    broken = {place: found for place, source in read.items() if (found := breaches(place, source))}
    assert not broken


@pytest.mark.parametrize(
    ("place", "source"),
    [
        ("feeds/hub.py", "import analytics"),
        ("feeds/hub.py", "from analytics.engine import Engine"),
        ("feeds/venues/okx.py", "def later():\n    from tui import session"),
        ("feeds/hub.py", "import rich.text"),
        ("analytics/engine.py", "import time"),
        ("analytics/engine.py", "from datetime import datetime"),
        ("analytics/engine.py", "import random"),
        ("analytics/engine.py", "from numpy import random"),
        ("analytics/engine.py", "import numpy.random as r"),
        ("analytics/engine.py", "import asyncio, math"),
        ("analytics/engine.py", "from threading import Lock"),
        ("analytics/engine.py", "from concurrent.futures import Future"),
        ("analytics/engine.py", "from feeds import hub"),
        ("analytics/engine.py", "from feeds.clock import ReceiveClock"),
        ("analytics/engine.py", "import feeds.clock"),
        ("analytics/engine.py", "from feeds.errors import ArbtopError"),
        ("analytics/engine.py", "from ..feeds.hub import Hub"),
        ("analytics/engine.py", "from tui.config import Config"),
        ("analytics/engine.py", "import pandas"),
        ("analytics/engine.py", "text = open('x').read()"),
        ("analytics/engine.py", "__import__('time')"),
        ("tui/session.py", "from textual.app import App"),
        ("tui/cli.py", "def draw():\n    import rich"),
        ("tui/application.py", "import textual"),
        ("themes/__init__.py", "from tui import app"),
        ("tui/session.py", "from tests.recordings import recording"),
    ],
)
def test_each_wall_is_seen_when_it_is_broken(place: str, source: str) -> None:
    assert len(breaches(place, source)) == 1


@pytest.mark.parametrize(
    ("place", "source"),
    [
        ("feeds/hub.py", "import asyncio\nfrom .orderbook import OrderBook\nfrom feeds import model"),
        ("analytics/engine.py", "from feeds.clock import BOUNDARY_NS, NEVER\nfrom .alert import Alert\nfrom feeds import model"),
        (
            "analytics/engine.py",
            "import numpy as np\nfrom collections.abc import Mapping\nfrom sortedcontainers import SortedList",
        ),
        ("tui/screens/desk.py", "from textual.screen import Screen\nfrom rich.text import Text"),
        ("tui/app.py", "from textual.app import App"),
        ("tui/cli.py", "def draw():\n    from tui.app import run"),
    ],
)
def test_what_is_allowed_is_not_called_a_breach(place: str, source: str) -> None:
    assert breaches(place, source) == []


def loaded_by(statement: str) -> set[str]:
    """The top names of all modules that a fresh interpreter has after a statement, and dotted ones of our own."""
    code = f"{statement}\nimport sys\nprint(*sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    return {name for name in run.stdout.split() if "." not in name or name.startswith(PACKAGES)}


HEAVY = {"textual", "rich", "aiohttp", "websockets", "pandas", "scipy"}


def test_the_command_line_loads_nothing_heavy() -> None:
    loaded = loaded_by("import tui.cli")
    assert "tui.cli" in loaded
    assert loaded & (HEAVY | {"numpy", "asyncio"}) == set()
    assert {name for name in loaded if name.startswith(("analytics", "feeds", "tui"))} <= {
        "feeds",
        "feeds.errors",
        "feeds.text",
        "tui",
        "tui.cli",
        "tui.cli_live",
        "tui.commandline",
    }


@pytest.mark.parametrize("module", ["tui.session", "tui.config", "tui.rules", "feeds.importers"])
def test_what_runs_without_a_screen_loads_no_screen_and_no_network(module: str) -> None:
    loaded = loaded_by(f"import {module}")
    assert module in loaded
    assert loaded & HEAVY == set()


def test_feeds_and_analytics_run_without_what_stands_above_them() -> None:
    modules = [place.removesuffix(".py").removesuffix("/__init__").replace("/", ".") for place in sources()]
    feeds = loaded_by("import " + ", ".join(name for name in modules if name.startswith("feeds")))
    assert {name for name in feeds if name.startswith(("analytics", "tui"))} == set()
    analytics = loaded_by("import " + ", ".join(name for name in modules if name.startswith("analytics")))
    assert {name for name in analytics if name.startswith("tui")} == set()
    assert analytics & HEAVY == set()
