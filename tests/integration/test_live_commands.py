"""The commands of live data as a user meets them, on the simulator: what they print and leave behind, and how they end.

No other machine is spoken to: every run is on a demo, or on ports of this machine.
"""

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import pytest
from click.testing import CliRunner, Result

from feeds.recording import Recording
from feeds.simulator.run import SERVERS
from tests.full_disk import disk_full_at
from tests.terminal import plain_environment
from tui.cli import cli
from tui.demo import Demo, demo_venues

SECRET: Final = "DUMMYSECRET123"
KEYS: Final = {"ARBTOP_API_KEY": SECRET, "BINANCE_API_KEY": SECRET, "BYBIT_API_SECRET": SECRET}
DEADLINE_S: Final = 30.0
MARKETS: Final = (
    "BINANCE spot",
    "BINANCE usdm",
    "BINANCE coinm",
    "BYBIT spot",
    "BYBIT linear",
    "BYBIT inverse",
    "OKX public",
    "DERIBIT public",
)
WATCHED, CONNECTIONS = 18, 10
"""Of bitcoin at the simulated venues."""
RULES: Final = """
[[rule]]
id = "apart"
metric = "basis"
op = "abs>="
enter = 1.0
exit = 0.5
for_ms = 100
"""


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A user's home of its own, with keys of others in the environment; the working directory is empty."""
    place = tmp_path / "home"
    (place / "work").mkdir(parents=True)
    for name, value in {**plain_environment(place), **KEYS}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(place / "work")
    return place


@pytest.fixture
def simulator() -> Iterator[Mapping[str, Mapping[str, str]]]:
    """Where each market of a simulator is. One a test: several runs in a minute would wait for each other's request weight."""
    child = subprocess.Popen(
        [sys.executable, "-m", "feeds.simulator", "--seed", "3"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=plain_environment(Path("/nonexistent")),
    )
    assert child.stdin is not None
    assert child.stdout is not None
    try:
        yield json.loads(child.stdout.readline())["endpoints"]
    finally:
        child.stdin.close()
        child.stdout.close()
        child.wait(DEADLINE_S)


def endpoints_toml(places: Mapping[str, Mapping[str, str]]) -> str:
    """The venues of these places, and no other: nothing may be sent to where the venues really are."""
    live = json.dumps(list(dict.fromkeys(name.partition(".")[0].lower() for name in places)))
    lines = [
        f'"{name.replace(".", " ")} {what}" = "{url}"'
        for name, bases in places.items()
        if "." in name
        for what, url in bases.items()
    ]
    return "\n".join(["[venues]", f"live = {live}", "[venues.endpoints]", *lines])


@pytest.fixture
def config(home: Path, simulator: Mapping[str, Mapping[str, str]]) -> Path:
    """A configuration whose venues are the simulator, with bitcoin alone."""
    path = home / "config.toml"
    path.write_text(f'[watch]\npinned = ["BTC"]\n{endpoints_toml(simulator)}\n')
    return path


@pytest.fixture
def rules(home: Path) -> Path:
    """Rules of which one fires within a second or two."""
    path = home / "rules.toml"
    path.write_text(RULES)
    return path


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(cli, [str(argument) for argument in arguments], prog_name="arbtop")


def refused(*arguments: str | Path, code: int = 2) -> str:
    """The one line that a refusal says, without the program's name."""
    result = run(*arguments)
    assert (result.exit_code, result.stdout) == (code, ""), result.output
    lines = result.stderr.splitlines()
    assert len(lines) == 1, result.stderr
    assert lines[0].startswith("arbtop: ")
    return lines[0].removeprefix("arbtop: ")


@contextlib.contextmanager
def program(*arguments: str | Path, **more: Any) -> Iterator["subprocess.Popen[bytes]"]:
    child = subprocess.Popen(
        [sys.executable, "-m", "tui", *map(str, arguments)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=dict(os.environ),
        **more,
    )
    try:
        yield child
    finally:
        if child.poll() is None:
            child.kill()
        child.communicate()


def wait_until(true: Callable[[], bool], what: str) -> None:
    """Of another process nobody tells: it is looked at."""
    end = time.monotonic() + DEADLINE_S
    while not true():
        assert time.monotonic() < end, f"waited for {what}"
        time.sleep(0.02)


def strict_json(line: str | bytes) -> dict[str, Any]:
    """As a reader takes it who knows no NaN."""

    def no(name: str) -> None:
        raise AssertionError(f"{name} is no JSON")

    found = json.loads(line, parse_constant=no)
    assert isinstance(found, dict)
    return found


def recorded_bytes(directory: Path) -> int:
    return sum(path.stat().st_size for path in directory.glob("*")) if directory.exists() else 0


def assert_whole(directory: Path) -> Counter[str]:
    """A recording that ends in order, and how many records of each kind it has."""
    recording = Recording(directory)
    kinds = Counter(record.kind for record in recording.records())
    assert recording.damage == []
    assert kinds["o"] == kinds["c"] > 0, "it ends without closing its connections"
    assert [path.suffix for path in sorted(directory.glob("*"))] == [".idx", ".gz"], "it was not finished"
    return kinds


# -- record ----------------------------------------------------------------------------------------------------------------


def test_a_recording_replays_to_the_alerts_that_its_run_exported(home: Path, config: Path, rules: Path) -> None:
    common = ("--rules", rules, "--json")
    result = run("--config", config, "record", "-o", "kept", "--seconds", "3", "--export", "live.csv", *common)
    assert result.exit_code == 0, result.output
    said = strict_json(result.stdout)
    assert said["directory"] == "kept"
    assert said["frames"] > 100
    assert said["alerts"] > 0
    assert said["faults"] == 0
    kinds = assert_whole(Path("kept"))
    assert kinds["t"] == said["frames"]
    assert kinds["k"] >= 6, "clocks are part of it"
    again = run("--config", config, "replay", "kept", "--headless", "--speed", "max", "--export", "replay.csv", *common)
    assert again.exit_code == 0, again.output
    assert Path("live.csv").read_bytes() == Path("replay.csv").read_bytes()
    report = strict_json(again.stdout)
    assert report["notes"] == []
    assert len(report["markets"]) == WATCHED
    assert list((home / "state").glob("**/*")) == [], "a recording logs no alerts unless it is told where"


def test_a_recording_without_a_name_goes_among_the_recordings(home: Path, config: Path) -> None:
    result = run("--config", config, "record", "--seconds", "0.5")
    assert result.exit_code == 0, result.output
    (kept,) = (home / "data" / "arbtop" / "recordings").iterdir()
    assert re.fullmatch(r"live-\d{8}-\d{6}", kept.name)
    assert re.fullmatch(rf".*{kept.name}: [\d,]+ frames, [\d.]+ MB, \d+ alerts\n", result.stdout)
    assert "Ctrl-C ends it" in result.stderr


def test_a_recording_with_a_state_directory_logs_its_alerts_there(config: Path, rules: Path) -> None:
    result = run("--config", config, "record", "-o", "kept", "--seconds", "3", "--rules", rules, "--state", "state", "--json")
    assert result.exit_code == 0, result.output
    listed = run("alerts", "list", "--state", "state", "--json")
    assert len(json.loads(listed.stdout)["alerts"]) == strict_json(result.stdout)["alerts"] > 0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_a_recording_whole(config: Path, number: signal.Signals) -> None:
    kept = Path("kept").absolute()
    with program("--config", config, "record", "-o", kept, "--json") as child:
        wait_until(lambda: recorded_bytes(kept) > 20_000, "a recording")
        child.send_signal(number)
        out, err = child.communicate(timeout=DEADLINE_S)
    assert child.returncode == 0, err
    assert strict_json(out)["frames"] > 0
    assert b"Traceback" not in err
    assert_whole(kept)


def test_a_full_disk_ends_the_recording_with_a_line_and_what_came_before_is_kept(config: Path) -> None:
    with disk_full_at(1_000_000):
        result = run("--config", config, "record", "-o", "kept", "--seconds", "10")
    assert result.exit_code == 1
    assert "kept: recording stopped: file too large" in result.stderr.splitlines()[-1]
    recording = Recording(Path("kept"))
    assert sum(record.kind == "t" for record in recording.records()) > 20


@pytest.mark.parametrize("place", ["file", "file/kept", "full"])
def test_a_place_that_cannot_be_recorded_into_is_refused_and_left_alone(config: Path, place: str) -> None:
    Path("file").touch()
    Path("full").mkdir()
    (Path("full") / "mine").touch()
    result = run("--config", config, "record", "-o", place, "--seconds", "1")
    assert result.exit_code == 2, result.output
    assert result.stdout == ""
    assert result.stderr.count("\n") == 1
    assert result.stderr.startswith(f"arbtop: {place}: ")
    assert [path.name for path in Path("full").iterdir()] == ["mine"]


# -- watch -----------------------------------------------------------------------------------------------------------------


def test_each_line_of_watch_is_one_json_object(config: Path, rules: Path) -> None:
    result = run("--config", config, "watch", "--seconds", "4", "--rules", rules, "--state", "state")
    assert result.exit_code == 0, result.output
    lines = [strict_json(line) for line in result.stdout.splitlines()]
    kinds = Counter(line["type"] for line in lines)
    assert set(kinds) == {"alert", "fx", "market", "pair", "route", "link"}
    assert all(re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d+Z", line["at"]) for line in lines)
    last = {line["instrument"]: line for line in lines if line["type"] == "market"}
    assert len(last) == WATCHED
    assert all(market["bid"] < market["ask"] for market in last.values())
    links = {line["slot"]: line for line in lines if line["type"] == "link"}
    assert {link["state"] for link in links.values()} == {"ready"}
    alert = next(line for line in lines if line["type"] == "alert")
    assert alert["event"] == "FIRE"
    assert alert["rule"] == "apart"


def test_watch_shows_what_is_asked_for_and_no_more(config: Path) -> None:
    result = run("--config", config, "watch", "--seconds", "2.5", "--show", "links", "--every", "2")
    lines = [strict_json(line) for line in result.stdout.splitlines()]
    assert {line["type"] for line in lines} == {"link"}
    assert len(lines) == CONNECTIONS, "once in two seconds"


def test_a_reader_that_has_seen_enough_ends_watch_quietly(config: Path) -> None:
    with program("--config", config, "watch", "--state", "state") as child:
        assert child.stdout is not None
        strict_json(child.stdout.readline())
        child.stdout.close()
        child.stdout = None
        assert child.wait(DEADLINE_S) in (0, 1)
        assert child.stderr is not None
        assert child.stderr.read() == b""


# -- instruments -----------------------------------------------------------------------------------------------------------


def test_instruments_are_listed_with_unit_tick_and_funding(config: Path) -> None:
    result = run("--config", config, "instruments", "--json")
    assert result.exit_code == 0, result.output
    said = strict_json(result.stdout)
    found = {row["instrument"]: row for row in said["instruments"]}
    assert said["trouble"] == []
    assert len(found) == WATCHED
    coin = found["BINANCE:BTC/USD:BTC"]
    assert (coin["market"], coin["kind"], coin["contract"], coin["unit"], coin["tick"]) == (
        "coinm",
        "perp",
        "inverse",
        "100 USD",
        0.1,
    )
    assert found["BYBIT:BTC/USD:BTC"]["unit"] == "1 USD"
    assert found["BYBIT:BTC/USDT:USDT"]["unit"] == "1 BTC"
    assert found["BYBIT:BTC/USDT:USDT"]["funding_h"] == 8
    assert found["BINANCE:BTC/USDT"]["funding_h"] is None
    dated = next(row for name, row in found.items() if re.search(r"-\d{6}$", name))
    assert dated["expiry_utc"].endswith("T08:00Z")
    table = run("--config", config, "instruments").stdout.splitlines()
    heads = [head.strip() for head in re.split(" {2,}", table[0])]
    assert heads == ["instrument", "native", "market", "kind", "contract", "tick", "lot", "unit of size", "funding", "expiry"]
    assert len(table) == 1 + WATCHED
    every = strict_json(run("--config", config, "instruments", "--all", "--json").stdout)
    assert len(every["instruments"]) > WATCHED


def test_instruments_of_a_venue_that_is_away_are_a_line_and_those_of_the_others_are_there(
    home: Path, simulator: Mapping[str, Mapping[str, str]]
) -> None:
    places = dict(simulator)
    places["BYBIT.linear"] = {"rest": "http://127.0.0.1:9", "websocket": "ws://127.0.0.1:9"}
    path = home / "half.toml"
    path.write_text(endpoints_toml(places))
    result = run("--config", path, "instruments")
    assert result.exit_code == 0
    assert result.stderr.startswith("arbtop: BYBIT linear: 127.0.0.1:9: no connection")
    assert result.stderr.count("\n") == 1


def test_where_no_venue_answers_instruments_fail_with_a_hint(home: Path) -> None:
    result = run("--config", offline(home), "instruments")
    assert result.exit_code == 1
    *troubles, last = result.stderr.splitlines()
    assert [line.partition(": ")[2].partition(":")[0] for line in troubles] == list(MARKETS)
    assert last == "arbtop: no venue could be reached; arbtop doctor says why"


def offline(home: Path) -> Path:
    """A configuration whose venues are ports of this machine at which nobody listens."""
    nowhere = {name.replace(" ", "."): {"rest": "http://127.0.0.1:9", "websocket": "ws://127.0.0.1:9"} for name in MARKETS}
    path = home / "offline.toml"
    path.write_text(endpoints_toml(nowhere))
    return path


# -- what is refused -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("arguments", [(), ("demo",)], ids=["live", "demo"])
def test_screens_without_a_terminal_are_refused_in_one_line(home: Path, arguments: Sequence[str]) -> None:
    said = refused("--config", offline(home), *arguments)
    assert "no terminal" in said
    assert "arbtop watch" in said


@pytest.mark.parametrize("command", ["record", "watch", "instruments", "doctor"])
def test_faults_without_a_demo_are_refused(home: Path, command: str) -> None:
    assert "--demo" in refused("--config", offline(home), command, "--faults")


@pytest.mark.parametrize(
    "option", [("--record", "kept"), ("--state", "here"), ("--rules", "rules.toml"), ("--theme", "okabe"), ("--calm",)]
)
def test_an_option_before_a_command_is_not_silently_lost(home: Path, option: Sequence[str]) -> None:
    said = refused("--config", offline(home), *option, "watch", "--seconds", "1")
    assert said == f"{option[0]} before watch does nothing: write it behind"


def test_an_address_without_tls_elsewhere_is_refused(home: Path) -> None:
    path = offline(home)
    path.write_text(
        path.read_text().replace('"BINANCE spot rest" = "http://127.0.0.1:9"', '"BINANCE spot rest" = "http://192.0.2.1"')
    )
    result = run("--config", path, "instruments", "--json")
    assert "http://192.0.2.1: only https:// is asked" in strict_json(result.stdout)["trouble"][0]


# -- the simulator ---------------------------------------------------------------------------------------------------------


def children_of(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="the child is found by /proc")
def test_when_the_simulator_dies_the_run_goes_on_and_says_what_is_down() -> None:
    with program("watch", "--demo", "--show", "links") as child:
        assert child.stdout is not None
        lines = (strict_json(line) for line in child.stdout)
        next(line for line in lines if line["state"] == "ready")
        (simulator_pid,) = children_of(child.pid)
        os.kill(simulator_pid, signal.SIGKILL)
        down = next(line for line in lines if line["state"] != "ready" and line["reason"])
        assert down["connects_left"] < 6
        assert child.poll() is None, "it ended with the simulator"
        child.send_signal(signal.SIGINT)
        assert child.wait(DEADLINE_S) == 0
        assert child.stderr is not None
        assert child.stderr.read() == b""


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="the child is found by /proc")
def test_a_program_that_is_killed_leaves_no_simulator_behind() -> None:
    with program("watch", "--demo", "--show", "links") as child:
        assert child.stdout is not None
        strict_json(child.stdout.readline())
        (simulator_pid,) = children_of(child.pid)
        child.kill()
        child.wait()
        wait_until(lambda: not is_running(simulator_pid), "the simulator's end")


def is_running(pid: int) -> bool:
    """A zombie has ended; whoever inherited it collects it in his own time."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_a_simulator_is_started_from_the_program_and_not_from_the_working_directory() -> None:
    Path("feeds.py").write_text("raise SystemExit('not ours')")
    with demo_venues(Demo(seed=1)) as venues:
        assert set(venues) == set(SERVERS)


def test_a_simulator_that_does_not_start_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/bin/false")
    assert refused("watch", "--demo", "--seconds", "1", code=1) == "the simulator did not start: it said nothing"


# -- keys ------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        f'api_key = "{SECRET}"',
        f'[venues]\napi_key = "{SECRET}"',
        f'[venues.endpoints]\n"BINANCE spot rest" = "https://user:{SECRET}@host"',
        f'[venues]\nproxy = "http://user:{SECRET}@127.0.0.1:8080"',
        f'[venues]\nlive = "{SECRET}',
    ],
)
def test_a_configuration_with_a_key_is_refused_without_showing_it(home: Path, text: str) -> None:
    path = home / "keys.toml"
    path.write_text(text + "\n")
    for command in (("watch", "--seconds", "1"), ("record", "--seconds", "1"), ("doctor",), ("config", "check")):
        result = run("--config", path, *command)
        assert result.exit_code == 2, result.output
        assert SECRET not in result.output
        assert "keys.toml line " in result.output


def test_keys_of_the_environment_are_in_nothing_that_is_written(home: Path, config: Path, rules: Path) -> None:
    assert os.environ["BINANCE_API_KEY"] == SECRET
    command = ("record", "-o", "kept", "--seconds", "2", "--rules", rules, "--state", "state", "--export", "alerts.jsonl")
    with program("--config", config, *command) as child:
        out, err = child.communicate(timeout=DEADLINE_S)
        assert child.returncode == 0, err
    with program("--config", config, "doctor", "--json") as child:
        said, trouble = child.communicate(timeout=DEADLINE_S)
    kept = [path for path in home.rglob("*") if path.is_file()]
    assert {path.suffix for path in kept} >= {".gz", ".jsonl"}
    written = [out, err, said, trouble, *(path.read_bytes() for path in kept)]
    written.append(b"".join(record.payload for record in Recording(Path("kept")).records()))
    assert not any(SECRET.encode() in each for each in written)
