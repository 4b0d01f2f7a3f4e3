"""The command line as a user meets it: exit codes, one line for a mistake, and what each command prints and leaves behind."""

import json
import os
import signal
import subprocess
import sys
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result

from analytics.alert import Alert, AlertEvent, AlertKind, AlertState, Severity
from feeds.model import SECOND
from tests.recordings import recording
from tui.cli import cli
from tui.config import default_file
from tui.journal import Journal

ROOT = Path(__file__).resolve().parents[2]
T0 = 1_723_161_600 * SECOND


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A user's home of its own; the working directory is empty."""
    place = tmp_path / "home"
    (place / "work").mkdir(parents=True)
    monkeypatch.setenv("HOME", str(place))
    for kind in ("CONFIG", "DATA", "STATE", "CACHE"):
        monkeypatch.setenv(f"XDG_{kind}_HOME", str(place / kind.lower()))
    monkeypatch.chdir(place / "work")
    return place


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(cli, [str(argument) for argument in arguments], prog_name="arbtop")


def refused(*arguments: str | Path, code: int = 2) -> str:
    """The one line that a refusal says, without the program's name."""
    result = run(*arguments)
    assert (result.exit_code, result.stdout) == (code, ""), result.output
    assert result.stderr.startswith("arbtop: ")
    assert result.stderr.count("\n") == 1
    return result.stderr.removeprefix("arbtop: ").strip()


def commands(group: click.Group, path: Sequence[str] = ()) -> list[list[str]]:
    found = [list(path)]
    for name, command in group.commands.items():
        found += commands(command, (*path, name)) if isinstance(command, click.Group) else [[*path, name]]
    return found


def process(*arguments: str | Path, env: Mapping[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "tui", *map(str, arguments)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), **(env or {})}
    return subprocess.run(command, capture_output=True, text=True, timeout=60, env=environment, check=False)


def capture(directory: Path, frames: int = 20) -> Path:
    """A capture of hftbacktest's collector: best bid and ask of Binance spot BTCUSDT, ten times a second."""
    touch = '{{"stream":"btcusdt@bookTicker","data":{{"u":{n},"s":"BTCUSDT","b":"60000.00","B":"1","a":"60000.10","A":"2"}}}}'
    path = directory / "btcusdt.txt"
    path.write_text("".join(f"{T0 + n * SECOND // 10} {touch.format(n=n + 1)}\n" for n in range(frames)))
    return path


def imported(directory: Path) -> Path:
    result = run("import", capture(directory), "-o", directory / "recorded", "--market", "spot")
    assert result.exit_code == 0, result.output
    return directory / "recorded"


def log(state: Path) -> None:
    """An alert log with three episodes, one of them open."""

    def alert(seq: int, rule: str, value: float | None) -> Alert:
        at = T0 + seq * SECOND
        return Alert(
            seq=seq, opened_ns=at, rule=rule, severity=Severity.WARN, scope="=A > B", value=value, unit="bp", enter=3.0, exit=0.0
        )

    with Journal(state / "alerts") as journal:
        for seq, (rule, value) in enumerate([("route", 4.0), ("gap", None), ("route", float("nan"))], 1):
            episode = alert(seq, rule, value)
            journal.append(AlertEvent(AlertKind.FIRE, episode, episode.opened_ns))
            if seq != 2:
                closed = Alert(**{**{n: getattr(episode, n) for n in episode.__struct_fields__}, "state": AlertState.RESOLVED})
                journal.append(AlertEvent(AlertKind.RESOLVE, closed, episode.opened_ns + SECOND))


@pytest.mark.parametrize("path", commands(cli), ids=" ".join)
def test_every_command_explains_itself(path: list[str]) -> None:
    result = run(*path, "--help")
    assert result.exit_code == 0
    assert result.stdout.startswith(f"Usage: {' '.join(['arbtop', *path])}")
    about = result.stdout.split("\n\n")[1]
    assert about.startswith("  "), "a command without a sentence"
    assert about.endswith(".")
    assert result.stderr == ""


def test_every_option_is_explained() -> None:
    for path in commands(cli):
        command: click.Command = cli
        for name in path:
            assert isinstance(command, click.Group)
            command = command.commands[name]
        assert [option.name for option in command.params if isinstance(option, click.Option) and not option.help] == []


def test_alone_it_opens_screens_and_says_what_to_do_where_there_is_no_terminal() -> None:
    said = refused()
    assert "no terminal" in said
    assert "arbtop watch" in said


def test_options_of_a_command_are_not_taken_before_it() -> None:
    assert "write it behind" in refused("--theme", "okabe", "watch")


def test_json_without_headless_is_refused_instead_of_ignored(tmp_path: Path) -> None:
    assert "--json goes with --headless" in refused("replay", str(tmp_path), "--json")


def test_the_screens_do_not_open_without_a_terminal(tmp_path: Path) -> None:
    assert "no terminal" in refused("replay", str(tmp_path))


@pytest.mark.parametrize("speed", ["0", "-1", "nan", "inf", "fast", "1e999"])
def test_a_speed_that_is_none_is_refused(speed: str) -> None:
    result = run("replay", "x", "--headless", "--speed", speed)
    assert result.exit_code == 2
    assert "is no speed: write a number above 0, or max" in result.stderr


@pytest.mark.parametrize(
    "arguments", [["nothing"], ["replay"], ["import"], ["config", "x"], ["completion", "csh"], ["replay", "--n", "x"]]
)
def test_wrong_usage_is_code_2_with_a_hint(arguments: list[str]) -> None:
    result = run(*arguments)
    assert result.exit_code == 2
    assert result.stdout == ""
    assert "--help" in result.stderr


def test_a_mistake_in_the_configuration_stops_every_command_that_reads_it(home: Path) -> None:
    file = home / "mine.toml"
    file.write_text("[arb]\n\nopen_bps = 3\n")
    for arguments in (["replay", "x", "--headless"], ["import", "x"], ["alerts", "list"], ["alerts", "export", "x.csv"]):
        said = refused("--config", file, *arguments)
        assert said == f'{file} line 3: unknown key "open_bps" in [arb]; did you mean "open_bp"?'


def test_a_configuration_that_was_named_must_be_there(home: Path) -> None:
    assert refused("--config", home / "absent.toml", "alerts", "list").endswith(
        "absent.toml: there is no such file; check the name"
    )
    assert run("alerts", "list").exit_code == 0, "without a name its absence is fine"


def test_config_init_writes_what_check_accepts_and_never_twice(home: Path) -> None:
    path = run("config", "path").stdout.strip()
    assert path == str(home / "config" / "arbtop" / "config.toml")
    assert run("config", "check").stdout == f"{path}: ok (not there, so the defaults apply)\n"
    assert run("config", "init").stdout == f"{path}: written\n"
    assert Path(path).read_text() == default_file()
    assert run("config", "check").stdout == f"{path}: ok\n"
    assert refused("config", "init") == f"{path}: is there already; move it away, or edit it"
    tables = ["fees", "size", "guards", "arb", "z", "obi", "premium", "tape", "venues", "watch", "alerts", "ui", "paths"]
    assert list(tomllib.loads(Path(path).read_text())) == tables


def test_config_check_says_each_file_and_fails_when_one_is_bad(home: Path) -> None:
    rules = home / "rules.toml"
    rules.write_text('[[rule]]\nid = "z"\nentr = 1\n')
    result = run("config", "check", "--rules", rules)
    assert result.exit_code == 2
    first, second = result.stdout.splitlines()
    assert first.endswith("ok (not there, so the defaults apply)")
    assert second == f'{rules} line 3: unknown key "entr" in [[rule]] z; did you mean "enter"?'
    answer = json.loads(run("config", "check", "--rules", rules, "--json").stdout)
    assert [file["ok"] for file in answer["files"]] == [True, False]


def test_config_init_where_nobody_may_write_is_a_failure_with_its_place(home: Path) -> None:
    (home / "file").write_text("")
    assert refused("--config", home / "file" / "config.toml", "config", "init", code=1).startswith(str(home / "file"))


def test_an_import_becomes_a_recording_that_replays(home: Path) -> None:
    directory = imported(home)
    result = run("replay", directory, "--headless", "--speed", "max", "--json")
    assert result.exit_code == 0, result.output
    report = json.loads(result.stdout)
    assert report["frames"] == 20
    assert [market["market"] for market in report["markets"]] == ["BINANCE:BTC/USDT"]
    text = run("replay", directory, "--headless", "--speed", "max")
    assert (text.exit_code, text.stderr) == (0, "")
    assert "20 frames" in text.stdout
    assert list((home / "state").rglob("*")) == [], "a replay without --state touched the user's state"


def test_a_replay_at_a_real_pace_gives_what_the_quickest_gives(home: Path) -> None:
    directory = imported(home)
    quick, paced = (run("replay", directory, "--headless", "--json", "--speed", speed).stdout for speed in ("max", "40"))
    assert quick == paced
    assert quick.startswith("{")


def test_an_import_without_a_name_goes_among_the_recordings_and_is_found_by_name(home: Path) -> None:
    result = run("import", capture(home), "--market", "spot", "--json")
    assert result.exit_code == 0, result.output
    directory = Path(json.loads(result.stdout)["directory"])
    assert directory == home / "data" / "arbtop" / "recordings" / "btcusdt"
    assert run("replay", "btcusdt", "--headless", "--speed", "max").exit_code == 0
    said = refused("replay", "ethusdt", "--headless")
    assert said == f"ethusdt: there is no such recording, neither here nor in {directory.parent}"


def test_an_import_never_writes_into_what_is_there(home: Path) -> None:
    (home / "full").mkdir()
    (home / "full" / "precious").write_text("x")
    assert "not empty; name a new directory" in refused("import", capture(home), "-o", home / "full")
    assert "not a directory; name a new directory" in refused("import", capture(home), "-o", home / "full" / "precious")
    assert [file.name for file in (home / "full").iterdir()] == ["precious"]


def test_an_import_of_nothing_leaves_nothing(home: Path) -> None:
    refused("import", home / "absent", "-o", home / "out")
    (home / "noise").write_bytes(os.urandom(64) + b"\n")
    refused("import", home / "noise", "-o", home / "out")
    assert not (home / "out").exists()


def test_what_is_no_recording_is_named(home: Path) -> None:
    (home / "empty").mkdir()
    (home / "text").write_text("hello\n")
    for name in ("empty", "text", "absent"):
        assert refused("replay", home / name, "--headless", "--speed", "max").startswith(str(home / name))


def test_a_time_outside_the_recording_or_none_at_all_is_refused(home: Path) -> None:
    directory = imported(home)
    for at in ("+999", "2001-01-01T00:00:00Z", "soon", "+x", "-5"):
        assert "--at" in refused("replay", directory, "--headless", "--speed", "max", f"--at={at}")
    assert run("replay", directory, "--headless", "--speed", "max", "--at", "+1").exit_code == 0


def test_a_rule_file_rules_the_replay_and_its_mistakes_stop_it(home: Path) -> None:
    directory = imported(home)
    rules = home / "rules.toml"
    rules.write_text('[[rule]]\nid = "own"\nmetric = "gap"\n')
    result = run("replay", directory, "--headless", "--speed", "max", "--rules", rules, "--json")
    assert "own" in json.loads(result.stdout)["alerts"]
    rules.write_text('[[rule]]\nid = "own"\n')
    assert f"{rules} line 2: " in refused("replay", directory, "--headless", "--rules", rules)
    assert "no such file" in refused("replay", directory, "--headless", "--rules", home / "absent.toml")


def test_settings_reach_the_replay(home: Path) -> None:
    file = home / "mine.toml"
    file.write_text("[size]\ndefault = 123\n[arb]\nopen_bp = 7\n")
    result = run("--config", file, "replay", imported(home), "--headless", "--speed", "max", "--json")
    report = json.loads(result.stdout)
    assert (report["size_usd"], report["open_bp"]) == (123.0, 7.0)


def test_an_export_that_cannot_be_is_refused_before_the_replay_and_else_written(home: Path) -> None:
    directory = imported(home)
    for name, said in (("day.xls", "no export format"), ("absent/day.csv", "make it first")):
        assert said in refused("replay", directory, "--headless", "--export", home / name), "at speed 1 this would take its time"
    file = home / "mine.toml"
    file.write_text(f'[paths]\nexports = "{home}"\n')
    result = run("--config", file, "replay", directory, "--headless", "--speed", "max", "--export", "day.jsonl")
    assert result.exit_code == 0
    assert (home / "day.jsonl").exists(), "[paths] exports has no effect"


def test_alerts_are_listed_from_the_state_directory(home: Path) -> None:
    log(home / "own")
    rows = json.loads(run("alerts", "list", "--state", home / "own", "--json").stdout)["alerts"]
    assert [(row["seq"], row["rule"], row["state"], row["value"]) for row in rows] == [
        (1, "route", "resolved", 4.0),
        (2, "gap", "firing", None),
        (3, "route", "resolved", None),
    ]
    text = run("alerts", "list", "--state", home / "own").stdout.splitlines()
    assert text[0].split() == ["seq", "opened", "lasted", "rule", "severity", "state", "value", "peak", "unit", "scope"]
    assert len(text) == 4
    assert "+4.00" in text[1]
    only = json.loads(run("alerts", "list", "--state", home / "own", "--open", "--json").stdout)["alerts"]
    assert [row["seq"] for row in only] == [2]
    only = json.loads(run("alerts", "list", "--state", home / "own", "--rule", "route", "--json").stdout)["alerts"]
    assert [row["seq"] for row in only] == [1, 3]
    assert run("alerts", "list").stdout == "no alerts\n", "the default state directory is another"
    file = home / "mine.toml"
    file.write_text(f'[paths]\nstate = "{home}/own"\n')
    assert len(run("--config", file, "alerts", "list").stdout.splitlines()) == 4, "[paths] state has no effect"


def test_a_state_directory_that_was_named_must_be_there(home: Path) -> None:
    for command in (["list"], ["export", "x.csv"]):
        assert "there is no such directory" in refused("alerts", *command, "--state", home / "absent")


def test_damage_in_the_log_is_said_beside_what_is_left(home: Path) -> None:
    log(home / "own")
    file = home / "own" / "alerts" / "alerts.jsonl"
    file.write_bytes(file.read_bytes() + b"nonsense\n")
    result = run("alerts", "list", "--state", home / "own", "--json")
    assert result.exit_code == 0
    assert len(json.loads(result.stdout)["alerts"]) == 3
    assert "damaged lines skipped: 1" in result.stderr


def test_alerts_are_exported_by_suffix(home: Path) -> None:
    log(home / "own")
    result = run("alerts", "export", "day.csv", "--state", home / "own", "--rule", "route")
    assert result.stdout == "day.csv: 2 alerts\n"
    assert len((home / "work" / "day.csv").read_text().splitlines()) == 3
    answer = json.loads(run("alerts", "export", "day.jsonl", "--state", home / "own", "--json").stdout)
    assert answer == {"file": "day.jsonl", "alerts": 3}
    assert "no export format" in refused("alerts", "export", "day.parquet", "--state", home / "own")


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_each_shell_gets_its_script(shell: str) -> None:
    result = run("completion", shell)
    assert result.exit_code == 0
    assert f"_ARBTOP_COMPLETE={shell}_complete" in result.stdout


def test_the_installed_program_completes_its_commands() -> None:
    script = Path(sys.executable).with_name("arbtop")
    environment = {**os.environ, "_ARBTOP_COMPLETE": "bash_complete", "COMP_WORDS": "arbtop al", "COMP_CWORD": "1"}
    answer = subprocess.run([script], capture_output=True, text=True, timeout=60, env=environment, check=False)
    assert answer.stdout == "plain,alerts\n"


def test_a_control_character_in_a_name_does_not_reach_the_terminal() -> None:
    said = refused("replay", "a\x1b]0;b\nc", "--headless")
    assert said.isprintable()


def test_the_real_process_says_the_same_and_ends_with_the_same_codes(home: Path) -> None:
    version = process("--version")
    assert (version.returncode, version.stderr) == (0, "")
    assert version.stdout.startswith("arbtop ")
    alone = process()
    assert (alone.returncode, alone.stdout, alone.stderr.count("\n")) == (2, "", 1)
    absent = process("replay", "absent", "--headless")
    assert (absent.returncode, absent.stdout, absent.stderr.count("\n")) == (2, "", 1)
    assert "Traceback" not in absent.stderr


def test_a_reader_that_leaves_early_gets_no_traceback() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "tui", "completion", "zsh"]
    with os.fdopen(writing, "wb") as pipe:
        ended = subprocess.run(command, stdout=pipe, stderr=subprocess.PIPE, timeout=60, env=environment, check=False)
    assert ended.stderr == b""
    assert ended.returncode == 1


def test_a_terminal_that_cannot_show_a_dash_gets_another_character(home: Path) -> None:
    log(home / "own")
    answer = process("alerts", "list", "--state", home / "own", env={"PYTHONIOENCODING": "ascii"})
    assert (answer.returncode, answer.stderr) == (0, "")
    assert len(answer.stdout.splitlines()) == 4


def test_ctrl_c_ends_a_replay_with_130_and_without_a_traceback(home: Path) -> None:
    directory = imported(home)
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    # the process interrupts itself as soon as it has begun to replay: nothing here waits for a moment to pass
    code = (
        "import os, signal, sys, tui.session as session\n"
        "sys.argv = ['arbtop', 'replay', sys.argv[1], '--headless', '--speed', '0.001']\n"
        "run = session.Replay.run\n"
        "def begin(self, *rest): os.kill(os.getpid(), signal.SIGINT); run(self, *rest)\n"
        "session.Replay.run = begin\n"
        "from tui.cli import main; main()\n"
    )
    command = [sys.executable, "-c", code, str(directory)]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60, env=environment, check=False)
    assert (ended.returncode, ended.stdout, ended.stderr) == (128 + signal.SIGINT, "", "")


@pytest.mark.recordings
def test_a_real_capture_is_imported_and_replayed_from_the_command_line(home: Path) -> None:
    answer = process("import", recording("bybit-2026-08-09"), "-o", home / "bybit", "--json")
    assert (answer.returncode, answer.stderr) == (0, "")
    assert json.loads(answer.stdout)["directory"] == str(home / "bybit")
    answer = process("replay", home / "bybit", "--headless", "--speed", "max", "--json", "--state", home / "own")
    assert (answer.returncode, answer.stderr) == (0, "")
    assert len(json.loads(answer.stdout)["markets"]) == 6
    assert process("alerts", "list", "--state", home / "own").returncode == 0
