"""The recording that all tests of the screens play, and where they keep what a screen looked like."""

from pathlib import Path

import pytest
from syrupy.assertion import SnapshotAssertion
from syrupy.extensions.single_file import SingleFileSnapshotExtension, WriteMode

from tests import made
from tests.screens.idle import _idle_is_seen as _idle_is_seen
from tests.screens.stage import SECONDS


class TextFile(SingleFileSnapshotExtension):
    """One screen a file, to be read as it stood."""

    file_extension = "txt"
    _write_mode = WriteMode.TEXT


class SvgFile(SingleFileSnapshotExtension):
    """One picture a file."""

    file_extension = "svg"
    _write_mode = WriteMode.TEXT


@pytest.fixture(scope="session")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("made") / "night"
    made.record(path, seed=1, seconds=SECONDS)
    return path


@pytest.fixture
def as_text(snapshot: SnapshotAssertion) -> SnapshotAssertion:
    return snapshot.use_extension(TextFile)


@pytest.fixture
def as_svg(snapshot: SnapshotAssertion) -> SnapshotAssertion:
    return snapshot.use_extension(SvgFile)


@pytest.fixture(autouse=True)
def _no_tool_of_this_desktop(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is copied goes to the terminal, never to the clipboard of whoever runs the tests."""
    monkeypatch.setenv("SSH_TTY", "somewhere")
