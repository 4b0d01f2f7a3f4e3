"""Puts text on the clipboard and says where it went.

On a machine that is reached over SSH the clipboard is at the other end, and only the terminal can reach it (OSC 52); on this
machine its own tool is asked first, since many terminals refuse OSC 52 without a word. Blocks for a second at the most. Source:
terminal-ui.md 3; the manuals of pbcopy, wl-copy, xclip and xsel.
"""

import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from feeds.text import clean_text
from tui.formats import plural

LIMIT_BYTES: Final = 100_000
TOOL_TIMEOUT_S: Final = 0.5
"""Two tools are tried at most."""
EXPORT_INSTEAD: Final = "P saves a picture of the screen, and e on DESK or ALERTS exports alerts"

TOOLS: Final[Sequence[tuple[str, Sequence[Sequence[str]]]]] = (
    ("WAYLAND_DISPLAY", (("wl-copy",),)),
    ("DISPLAY", (("xclip", "-selection", "clipboard"), ("xsel", "--clipboard", "--input"))),
)
"""Variable that says that there is such a desktop → its tools."""


def run_tool(command: Sequence[str], data: bytes) -> bool:
    """Give a tool the bytes; whether it took them. One that is missing, fails or hangs did not."""
    try:
        done = subprocess.run(
            command, input=data, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, timeout=TOOL_TIMEOUT_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0


def copy(
    text: str,
    env: Mapping[str, str],
    run: Callable[[Sequence[str], bytes], bool],
    osc52: Callable[[str], object],
    platform: str = sys.platform,
) -> str:
    """Copy, and say in one line where to.

    Args:
        text: control bytes other than tab and line feed do not go with it.
        env: the environment, which says where the user sits.
        run: hands bytes to a tool and says whether it took them: `run_tool`.
        osc52: hands text to the terminal.
    """
    clean = "\n".join("\t".join(clean_text(cell, len(cell)) for cell in line.split("\t")) for line in _lines(text))
    data = clean.encode()
    if not clean:
        return "nothing to copy"
    if len(data) > LIMIT_BYTES:
        return f"not copied: {len(data) / 1000:.1f} kB is more than {LIMIT_BYTES // 1000} kB; {EXPORT_INSTEAD}"
    copied = f"copied {plural(len(clean), 'character')}"
    for command in _tools(env, platform):
        if run(command, data):
            return f"{copied} with {command[0]}"
    osc52(clean)
    return f"{copied} through the terminal (OSC 52); if nothing arrives, the terminal does not allow it: {EXPORT_INSTEAD}"


def _lines(text: str) -> list[str]:
    return text.replace("\r\n", "\n").split("\n")


def _tools(env: Mapping[str, str], platform: str) -> Sequence[Sequence[str]]:
    """Those of this machine's desktop; none where the user sits at another."""
    if env.get("SSH_CONNECTION") or env.get("SSH_TTY"):
        return ()
    if platform == "darwin":
        return (("pbcopy",),)
    return next((tools for variable, tools in TOOLS if env.get(variable)), ())
