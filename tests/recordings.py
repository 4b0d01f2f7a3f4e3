"""Where the real recordings are. They lie beside the repository and are never part of it."""

from pathlib import Path

import pytest

RECORDINGS = Path(__file__).resolve().parents[2] / "shared" / "recordings"


def recording(name: str) -> Path:
    """The folder of a recording; skips the test where it is absent."""
    path = RECORDINGS / name
    if not path.is_dir():
        pytest.skip(f"no market data at ../shared/recordings/{name}")
    return path
