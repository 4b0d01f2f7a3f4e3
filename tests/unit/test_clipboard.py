"""Where copied text goes, and that the user is told the truth about it."""

import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from tui import clipboard
from tui.clipboard import EXPORT_INSTEAD, LIMIT_BYTES, copy, run_tool

THROUGH_TERMINAL = f"through the terminal (OSC 52); if nothing arrives, the terminal does not allow it: {EXPORT_INSTEAD}"
DESKTOP = {"WAYLAND_DISPLAY": "wayland-0", "DISPLAY": ":0"}


class Desk:
    """Tools that work as told, and a terminal; both remember what they were given."""

    def __init__(self, *working: str) -> None:
        self.working = working
        self.asked: list[str] = []
        self.tool = b""
        self.terminal = ""

    def run(self, command: Sequence[str], data: bytes) -> bool:
        self.asked.append(command[0])
        if command[0] in self.working:
            self.tool = data
        return command[0] in self.working

    def osc52(self, text: str) -> None:
        self.terminal = text

    def copy(self, text: str, env: Mapping[str, str], platform: str = "linux") -> str:
        return copy(text, env, self.run, self.osc52, platform)


@pytest.mark.parametrize(
    ("env", "platform", "tool"),
    [
        ({}, "darwin", "pbcopy"),
        ({"WAYLAND_DISPLAY": "wayland-0"}, "linux", "wl-copy"),
        (DESKTOP, "linux", "wl-copy"),
        ({"DISPLAY": ":0"}, "linux", "xclip"),
    ],
)
def test_at_this_machine_its_own_tool_gets_the_text(env: dict[str, str], platform: str, tool: str) -> None:
    desk = Desk("pbcopy", "wl-copy", "xclip", "xsel")
    assert desk.copy("BTC −1.5 bp", env, platform) == f"copied 11 characters with {tool}"
    assert desk.tool == "BTC −1.5 bp".encode()
    assert desk.terminal == ""
    assert desk.asked == [tool]


@pytest.mark.parametrize("remote", [{"SSH_CONNECTION": "1.2.3.4 5 6.7.8.9 22"}, {"SSH_TTY": "/dev/pts/1"}])
@pytest.mark.parametrize("platform", ["linux", "darwin"])
def test_over_ssh_the_clipboard_of_the_far_machine_is_left_alone(remote: dict[str, str], platform: str) -> None:
    desk = Desk("pbcopy", "wl-copy", "xclip")
    assert desk.copy("abc", {**DESKTOP, **remote}, platform) == f"copied 3 characters {THROUGH_TERMINAL}"
    assert (desk.asked, desk.terminal) == ([], "abc")


def test_a_tool_that_does_not_do_it_is_followed_by_the_next_and_last_by_the_terminal() -> None:
    desk = Desk("xsel")
    assert desk.copy("a", {"DISPLAY": ":0"}) == "copied 1 character with xsel"
    desk = Desk()
    assert desk.copy("abc", {"DISPLAY": ":0"}) == f"copied 3 characters {THROUGH_TERMINAL}"
    assert desk.asked == ["xclip", "xsel"]
    assert desk.terminal == "abc"
    assert Desk("xclip").copy("abc", {}) == f"copied 3 characters {THROUGH_TERMINAL}"


@pytest.mark.parametrize("env", [{}, {"DISPLAY": ":0"}])
def test_no_control_byte_is_copied_but_tabs_and_line_ends(env: dict[str, str]) -> None:
    desk = Desk("xclip")
    desk.copy("a\tb\r\nc\x1b]52;c;AAAA\x07d\x00\x9b\u202e\ud800\ne", env)
    sent = desk.tool.decode() if env else desk.terminal
    assert sent == "a\tb\nc�]52;c;AAAA�d����\ne"


def test_what_is_too_long_is_refused_and_not_cut() -> None:
    desk = Desk("xclip")
    assert desk.copy("é" * (LIMIT_BYTES // 2), {"DISPLAY": ":0"}).startswith("copied")
    desk = Desk("xclip")
    said = desk.copy("é" * (LIMIT_BYTES // 2 + 1), {"DISPLAY": ":0"})
    assert said == f"not copied: 100.0 kB is more than 100 kB; {EXPORT_INSTEAD}"
    assert (desk.asked, desk.terminal) == ([], "")


def test_nothing_is_not_copied() -> None:
    desk = Desk("xclip")
    assert desk.copy("", DESKTOP) == "nothing to copy"
    assert desk.asked == []


@pytest.fixture
def tool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A tool of our own on the path; its script is to be written."""
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    path = tmp_path / "clip"
    path.touch(mode=0o700)
    return path


def test_a_real_tool_gets_the_bytes_and_its_failure_is_seen(tool: Path, capfd: pytest.CaptureFixture[str]) -> None:
    tool.write_text("#!/bin/sh\necho noise; echo noise >&2; cat > $(dirname $0)/got\n")
    assert run_tool(["clip"], "a − b".encode())
    assert (tool.parent / "got").read_text() == "a − b"
    assert capfd.readouterr() == ("", "")
    tool.write_text("#!/bin/sh\nexit 1\n")
    assert not run_tool(["clip"], b"x" * 90_000)
    assert not run_tool(["no-such-tool-anywhere"], b"x")


def test_a_tool_that_hangs_is_given_up(tool: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clipboard, "TOOL_TIMEOUT_S", 0.05)
    tool.write_text(f"#!{sys.executable}\nimport time\ntime.sleep(60)\n")
    assert not run_tool(["clip"], b"x" * 90_000)


def test_all_tools_together_take_no_longer_than_a_second() -> None:
    assert all(len(tools) * clipboard.TOOL_TIMEOUT_S <= 1.0 for _, tools in clipboard.TOOLS)
