"""A hostile message that is refused must not leave its size behind in the process: left open all day it would only ever grow."""

import subprocess
import sys

import pytest

PROGRAM = """
import sys
from pathlib import Path
from tui.memory import return_large_blocks

def resident():
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096

taken = return_large_blocks() if sys.argv[1] == "yes" else False
kept = []
before = resident()
for _ in range(2):  # the allocator learns from the first that is freed
    block = b"x" * (12 << 20)
    kept.append(b"y" * 100_000)  # what comes after a large block keeps it from going back, where it is not the system's own
    del block
print(taken, (resident() - before) >> 20)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the allocator is that of Linux")
def test_what_large_messages_took_goes_back() -> None:
    said = subprocess.run([sys.executable, "-c", PROGRAM, "yes"], capture_output=True, text=True, check=True).stdout.split()
    if said[0] == "False":
        pytest.skip("this C library does not know it")
    assert int(said[1]) <= 2
