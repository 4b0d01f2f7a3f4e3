"""The configuration file: a mistake must be named with its line and its mend, and what is written must be what is meant."""

import os
import stat
import tomllib
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec.structs import fields

from analytics.settings import AnalyticsSettings
from feeds.errors import ArbtopError, InputError
from feeds.text import clean_text
from tui.config import NOTES, Config, default_file, load_config, write_default_file
from tui.settings import Paths, default_config_path
from tui.toml import KeyPath, key_lines


def write(directory: Path, text: str | bytes) -> Path:
    path = directory / "config.toml"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def mistake(directory: Path, text: str | bytes) -> str:
    """The error line of a configuration, without the directory in front."""
    with pytest.raises(InputError) as caught:
        load_config(write(directory, text))
    assert "\n" not in str(caught.value)
    return str(caught.value).removeprefix(f"{directory}{os.sep}")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[arb]\n\nopen_bps = 3\n", 'line 3: unknown key "open_bps" in [arb]; did you mean "open_bp"?'),
        ("[z]\nwindow = 60\n\n[arbs]\nopen_bp = 1\n", "line 4: unknown table [arbs]; did you mean [arb]?"),
        ("# mine\n[colours]\nup = 1\n", "line 2: unknown table [colours]; what there is: [fees], [size], "),
        ("open_bp = 3\n", 'line 1: unknown key "open_bp" outside a table; put it below [arb]'),
        ("qqqq = 3\n", 'line 1: unknown key "qqqq"; what there is: '),
        ("[arb]\nqqqq = 3\n", 'line 2: unknown key "qqqq" in [arb]; what there is: "open_bp", "close_bp", "close_hold_ms"'),
        ("\narb = 3\n", "line 2: arb is a table: write [arb], and its keys below it"),
        ('[arb]\nopen_bp = "3"\n', 'line 2: open_bp in [arb] is "3": it must be a number from -10000 to 10000'),
        ("[arb]\nopen_bp = 20_000\n", "line 2: open_bp in [arb] is 20000: it must be a number from -10000 to 10000"),
        ("[arb]\nopen_bp = true\n", "line 2: open_bp in [arb] is true: it must be a number"),
        ("[guards]\nupdates = 2.5\n", "line 2: updates in [guards] is 2.5: it must be a whole number from 1 to 100"),
        ("[guards]\nmax_age_ms = 2026-01-01\n", "line 2: max_age_ms in [guards] is 2026-01-01: it must be a whole number"),
        ("[premium]\nimpact_notional = inf\n", "line 2: impact_notional in [premium] is inf: it must be a finite number above 0"),
        ("[size]\ndefault = nan\n", "line 2: default in [size] is nan: it must be a finite number"),
        ("[z]\ndecay = 1\n", "line 2: decay in [z] is 1: it must be a number above 0 and below 1"),
        ('[z]\nmode = "ema"\n', 'line 2: mode in [z] is "ema": it must be one of "ewma", "inclusive", "prior"'),
        ("[guards]\nupdates = 0x" + "f" * 9000, "line 2: updates in [guards] is an enormous number: it must be a whole number"),
        ("fees.taker_bps = 7\n", 'line 1: taker_bps in [fees] is 7: it must be a table of "name" = a number from -100 to 1000'),
        (
            '[fees.taker_bps]\n"BINANCE spot" = 7.5\n"BYBIT spot" = "x"\n',
            'line 3: "BYBIT spot" in taker_bps in [fees] is "x": it must be a number',
        ),
        ('[fees]\n\ntaker_bps = { "BINANCE sport" = 7.5 }\n', "line 3: fee of 'BINANCE sport' names nothing: write a venue"),
        ("[arb]\nclose_hold_ms = 5\nclose_bp = 9\n", "line 3: [arb] close_bp must not be above open_bp"),
        ("[arb]\nclose_hold_ms = 5\nopen_bp = -9\n", "line 3: [arb] close_bp must not be above open_bp"),
        ("[z]\nwindow = 20\n", "line 2: [z] min_periods must not be above window"),
        ('[paths]\nstate = "here"\n', "line 2: [paths] state must be absolute or begin with ~/"),
        ('[paths]\nexports = "/a\\u0000b"\n', "line 2: [paths] exports holds a control character"),
        ("[arb]\nopen_bp = \n", "line 2: not TOML: Invalid value at column 11"),
        ("[arb]\nopen_bp = 1\nopen_bp = 2\n", "line 3: not TOML: Cannot overwrite a value"),
        ("[arb]\nopen_bp", "line 2: not TOML: Expected '=' after a key in a key/value pair"),
        ("[size]\ndefault = " + "9" * 5000, "line 2: not TOML: "),
        (b"[arb]\n# \xe4\nopen_bp = 3\n", "line 2: not UTF-8 (byte 0xe4); save the file as UTF-8"),
        (b'[arb]\n"\\u001b[2J" = 3\n', 'line 2: unknown key "\ufffd[2J" in [arb]'),
    ],
)
def test_a_mistake_is_named_with_its_line_and_its_mend(tmp_path: Path, text: str | bytes, said: str) -> None:
    assert mistake(tmp_path, text).startswith(f"config.toml {said}")


def test_of_several_mistakes_the_first_in_the_file_is_told(tmp_path: Path) -> None:
    assert "line 2: unknown key" in mistake(tmp_path, "[z]\nx = 1\n[arb]\nopen_bp = 'a'\n[fees]\ny = 1\n")


def test_nesting_without_end_is_a_line_and_no_recursion_error(tmp_path: Path) -> None:
    assert "nested too deeply" in mistake(tmp_path, "a = " + "[" * 20_000)
    assert "nested too deeply" in mistake(tmp_path, "a = " + "[" * 20_000 + "]" * 20_000)


@pytest.mark.parametrize("text", ["[arb]\r\n\r\nopen_bps = 3\r\n", b"\xef\xbb\xbf[arb]\n\nopen_bps = 3\n"])
def test_a_file_from_windows_is_read_and_its_lines_are_counted_right(tmp_path: Path, text: str | bytes) -> None:
    assert mistake(tmp_path, text).startswith('config.toml line 3: unknown key "open_bps"')


def test_what_is_set_arrives_and_the_rest_keeps_its_default(tmp_path: Path) -> None:
    text = '[arb]\nopen_bp = 7\n[fees]\ntaker_bps = { "BINANCE spot" = 7.5 }\n[paths]\nstate = "/var/x"\n'
    config = load_config(write(tmp_path, text))
    assert config.arb.open_bp == 7.0
    assert config.fees.taker_bps == {"BINANCE spot": 7.5}
    assert config.paths.state_dir() == Path("/var/x")
    assert msgspec.structs.replace(config, arb=Config().arb, fees=Config().fees, paths=Paths()) == Config()
    assert type(config.analytics) is AnalyticsSettings
    assert (config.analytics.arb, config.analytics.fees) == (config.arb, config.fees)


def test_a_rate_is_implied_unless_it_is_fixed_and_reaches_the_engine(tmp_path: Path) -> None:
    assert (Config().analytics.fx, Config().analytics.fixed_usd, Config().alerts.depeg_bp) == ("implied", {}, 20.0)
    text = "[venues]\nfx = { USDT = 0.9997 }\n[alerts]\ndepeg_bp = 50\n[fees]\nconversion_bp = 2.5\n"
    config = load_config(write(tmp_path, text))
    assert config.analytics.fixed_usd == {"USDT": 0.9997}
    assert (config.alerts.depeg_bp, config.analytics.fees.conversion_bp) == (50.0, 2.5)


@pytest.mark.parametrize("value", ["'fixed'", "0.9997", "{ USDT = 9997 }", "{ EUR = 1.1 }", "{ USDT = nan }"])
def test_a_rate_that_cannot_be_is_refused_with_its_line(tmp_path: Path, value: str) -> None:
    said = mistake(tmp_path, f"[venues]\nfx = {value}\n")
    assert said.startswith("config.toml line 2: fx in [venues] is")
    assert 'one of "implied" or a table of "name" = a' in said


def test_no_file_is_fine_unless_it_was_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.setenv("HOME", str(tmp_path))
    assert load_config() == Config()
    with pytest.raises(InputError, match=r"config\.toml: there is no such file; check the name"):
        load_config(tmp_path / "config.toml")
    path = default_config_path()
    assert path.is_relative_to(tmp_path)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("[arb]\nopen_bp = 4\n")
    assert load_config().arb.open_bp == 4.0


def test_what_is_no_file_is_refused_and_does_not_hang(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "long").write_bytes(b"#" * (2 << 20))
    for path, said in (
        (tmp_path, "Is a directory"),
        (tmp_path / "long", "longer than 1 MiB"),
        (tmp_path / "a\0b", "no file name"),
    ):
        with pytest.raises(InputError, match=said):
            load_config(path)
    assert load_config(tmp_path / "pipe") == Config(), "a pipe nobody writes to is empty"


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_a_file_that_may_not_be_read_is_named(tmp_path: Path) -> None:
    path = write(tmp_path, "")
    path.chmod(0)
    with pytest.raises(InputError, match="cannot be read: Permission denied"):
        load_config(path)


def test_every_key_of_the_written_file_is_a_key_and_its_value_the_default(tmp_path: Path) -> None:
    text = default_file()
    assert load_config(write(tmp_path, text)) == Config(), "as written, nothing is changed"
    live = "\n".join(line[1:] if line[:1] == "#" and line[1:2] not in (" ", "") else line for line in text.split("\n"))
    assert load_config(write(tmp_path, live)) == Config(), "with every # removed neither"
    stated = {(table, key) for table, keys in tomllib.loads(live).items() for key in keys}
    assert stated == {(table.name, key.name) for table in fields(Config) for key in fields(table.type)}


def test_every_setting_says_what_it_is_and_no_note_outlives_its_setting() -> None:
    names = [
        name for table in fields(Config) for name in (table.name, *(f"{table.name}.{key.name}" for key in fields(table.type)))
    ]
    assert list(NOTES) == names


def test_the_written_file_is_whole_private_and_never_replaces_one(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        path = tmp_path / "deep" / "config.toml"
        write_default_file(path)
    finally:
        os.umask(before)
    assert path.read_text() == default_file()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    path.write_text("mine")
    with pytest.raises(InputError, match="is there already"):
        write_default_file(path)
    (tmp_path / "deep" / "link.toml").symlink_to(tmp_path / "nowhere")
    with pytest.raises(InputError, match="is there already"):
        write_default_file(tmp_path / "deep" / "link.toml")
    assert path.read_text() == "mine"
    assert sorted(each.name for each in path.parent.iterdir()) == ["config.toml", "link.toml"], "something was left behind"


def test_a_plain_export_name_goes_where_exports_go_and_a_path_where_it_says(tmp_path: Path) -> None:
    paths = Paths(exports=str(tmp_path))
    assert paths.export_path(Path("day.csv")) == tmp_path / "day.csv"
    assert paths.export_path(Path("./out/day.csv")) == Path("out/day.csv")
    assert paths.export_path(Path("/x/day.csv")) == Path("/x/day.csv")
    assert Paths().export_path(Path("day.csv")) == Path("day.csv")


def test_a_home_directory_is_put_in_for_the_tilde(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert Paths(state="~/x").state_dir() == tmp_path / "x"
    assert Paths(recordings="~").recordings_dir() == tmp_path


WORDS = [
    "[arb]",
    "[[fees]]",
    "open_bp",
    "=",
    "3",
    "nan",
    '"',
    "'",
    '"""',
    "{",
    "}",
    "[",
    "]",
    ",",
    ".",
    "\n",
    "#",
    "\\",
    "\r",
    "\0",
    "é",
]


@given(
    data=st.one_of(
        st.binary(max_size=200), st.lists(st.sampled_from(WORDS), max_size=30).map(lambda words: "".join(words).encode())
    )
)
@settings(max_examples=250, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_bytes_give_anything_but_one_line(tmp_path: Path, data: bytes) -> None:
    said = ""
    try:
        load_config(write(tmp_path, data))
    except ArbtopError as error:
        said = str(error)
    assert said == clean_text(said, 10_000), "a control character, or a second line"


KEYS = st.sampled_from(["{}", '"{} #[="', "'{} ]'", '"{}\\u00e9"', '"{}.x"'])
VALUES = st.sampled_from(
    [
        "1",
        "2026-01-01 10:00:00",
        '"# [x] = \\" {"',
        "'''a\n[no]\nk = 1\n'''''",
        '"""\\\n ""\nx = 1 \\""""""',
        "[ # ]\n 1,\n [2, '}'],\n]",
        "{}",
        "[]",
    ]
)


class Document:
    """TOML text under construction, with the line of every key as the writer knows it."""

    def __init__(self) -> None:
        self.text = ""
        self.lines: dict[KeyPath, int] = {}

    def put(self, text: str) -> None:
        self.text += text

    def mark(self, where: KeyPath) -> None:
        self.lines[where] = self.text.count("\n") + 1


def real(key: str) -> str:
    return str(next(iter(tomllib.loads(f"{key} = 1"))))


@st.composite
def documents(draw: st.DrawFn) -> Document:
    made = Document()
    number = iter(range(1000))

    def key() -> str:
        return draw(KEYS).format(f"k{next(number)}")

    def pairs(where: KeyPath) -> None:
        for _ in range(draw(st.integers(0, 3))):
            made.put(draw(st.sampled_from(["", "\n", "  # a = 1\n\n", "\t"])))
            one, two = key(), key()
            dotted = draw(st.booleans()) and "." not in one
            inner = (*where, real(one), real(two)) if dotted else (*where, real(one))
            for end in range(len(where) + 1, len(inner) + 1):
                made.mark(inner[:end])
            made.put(f"{one} . {two} = " if dotted else f"{one}=")
            if draw(st.booleans()):
                made.put(draw(VALUES))
            else:
                third = key()
                made.put("[\n 0, { x.y = 'z', ")
                inside: tuple[KeyPath, ...] = ((1,), (1, "x"), (1, "x", "y"), (1, real(third)))
                for path in inside:
                    made.mark((*inner, *path))
                made.put(f"{third} = [1] }} ]")
            made.put(draw(st.sampled_from(["\n", " # [t]\n"])))

    pairs(())
    for _ in range(draw(st.integers(0, 3))):
        name = key()
        count = draw(st.integers(0, 2))
        for place in range(count):
            if not place:
                made.mark((real(name),))
            made.mark((real(name), place))
            made.put(f"[[ {name} ]]\n")
            pairs((real(name), place))
            below = key()
            made.mark((real(name), place, real(below)))
            made.put(f"[{name}.{below}]\n")
            pairs((real(name), place, real(below)))
        if not count:
            made.mark((real(name),))
            made.put(f"  [{name}] # c\n")
            pairs((real(name),))
    return made


def keys_of(value: Any, where: KeyPath = ()) -> set[KeyPath]:
    entries = list(value.items()) if isinstance(value, dict) else list(enumerate(value)) if isinstance(value, list) else []
    return {path for key, each in entries for path in ((*where, key), *keys_of(each, (*where, key)))}


@given(made=documents())
@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_no_way_to_write_a_key_hides_its_line(made: Document) -> None:
    found = key_lines(made.text)
    assert {path: found.get(path) for path in made.lines} == made.lines
    assert set(found) == keys_of(tomllib.loads(made.text)), "a key the scanner missed, or one that is none"


@pytest.mark.parametrize("url", ["https://host/path?key=DUMMYSECRET", "https://host/#x", "https://me:word@host"])
def test_an_address_with_more_than_a_base_is_refused_without_being_repeated(tmp_path: Path, url: str) -> None:
    file = tmp_path / "config.toml"
    file.write_text(f'[venues.endpoints]\n"BINANCE spot rest" = "{url}"\n')
    with pytest.raises(InputError) as refused:
        load_config(file)
    assert "DUMMYSECRET" not in str(refused.value)
    assert "me:word" not in str(refused.value)
