"""Rule files: a rule must mean what its file says, and a slip must be named with its line."""

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from analytics.alert import Severity
from analytics.alerts import DEFAULT_RULES, Metric, Rule
from analytics.settings import Alerts
from feeds.errors import ArbtopError, InputError
from feeds.text import clean_text
from tui.rules import load_rules, rules_of

SHIPPED = {rule.id: rule for rule in DEFAULT_RULES}


def write(directory: Path, text: str | bytes) -> Path:
    path = directory / "rules.toml"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('[[rule]]\nid = "z"\nentr = 4\n', 'line 3: unknown key "entr" in [[rule]] z; did you mean "enter"?'),
        ('[[rule]]\nid = "z"\n[[rule]]\nid = "gap"\ncooldown_ms = -1\n', "line 5: cooldown_ms in [[rule]] gap is -1: it must be"),
        ('[[rule]]\nid = "z"\nenter = "4"\n', 'line 3: enter in [[rule]] z is "4": it must be a number'),
        ('[[rule]]\nid = "z"\nenter = inf\n', "line 3: enter in [[rule]] z is inf: it must be a finite number"),
        ('[[rule]]\nid = "z"\nop = ">"\n', 'line 3: op in [[rule]] z is ">": it must be one of "<=", ">=", "abs>="'),
        (
            '[[rule]]\nid = "z"\nseverity = "loud"\n',
            'line 3: severity in [[rule]] z is "loud": it must be one of "info", "warn", "crit"',
        ),
        ('[[rule]]\nid = "z"\nmetric = "zz"\n', 'line 3: metric in [[rule]] z is "zz": it must be one of "route", '),
        ('[[rule]]\nid = "z"\nexit = 9\n', "line 3: rule z: exit 9.0 is not on the quiet side of enter 3.0"),
        ('[[rule]]\nid = "z"\n\nenter = 1\n', "line 4: rule z: exit 2.0 is not on the quiet side of enter 1.0"),
        ('\n[[rule]]\nid = "stale"\nfor_ms = 5\n', "line 2: rule stale: stale has no thresholds of its own"),
        ('\n[[rule]]\nid = "zed"\nmetric = "z"\n', "line 2: rule zed: z needs enter and exit"),
        ('\n[[rule]]\nid = "rout"\nenabled = false\n', 'line 3: no rule "rout" ships; did you mean "route"?'),
        ('\n[[rule]]\nid = "mine-own"\n', 'line 3: no rule "mine-own" ships; a new rule needs a metric'),
        ('[[rule]]\nid = "Z 1"\nmetric = "gap"\n', 'line 2: id in [[rule]] Z 1 is "Z 1": it must be text like '),
        (
            "\n[[rule]]\nenter = 3\n",
            "line 2: [[rule]] needs an id: that of a rule that ships (route, stale, gap, z, basis, imbalance, depeg)",
        ),
        ("[[rule]]\nid = 3\n", "line 2: id must be text: "),
        ('[[rule]]\nid = "z"\n\n[[rule]]\nenter = 4\nid = "z"\n', "line 6: rule z stands on line 1 already; make them one"),
        ('[rule]\nid = "z"\n', "line 1: write [[rule]] with two brackets"),
        ("[rule.z]\nenter = 3\n", "line 1: write [[rule]] with two brackets"),
        ("rule = [1]\n", "line 1: write [[rule]] with two brackets"),
        ('[[rules]]\nid = "z"\n', 'line 1: unknown key "rules"; a rule file holds [[rule]] tables and nothing else'),
        ('rule = [\n  { id = "z", enter = 4 },\n  { id = "gap", on = true },\n]\n', 'line 3: unknown key "on" in [[rule]] gap; '),
        ("[[rule]\n", "line 1: not TOML: "),
        (b"[[rule]]\nid = '\xff'\n", "line 2: not UTF-8"),
    ],
)
def test_a_slip_is_named_with_its_line_and_its_mend(tmp_path: Path, text: str | bytes, said: str) -> None:
    with pytest.raises(InputError) as caught:
        load_rules(write(tmp_path, text))
    assert str(caught.value).startswith(f"{tmp_path}/rules.toml {said}")


def test_a_missing_rule_file_does_not_mean_the_default_rules(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"rules\.toml: there is no such file"):
        load_rules(tmp_path / "rules.toml")


def test_a_changed_rule_keeps_its_place_and_what_the_file_leaves_out(tmp_path: Path) -> None:
    text = '[[rule]]\nid = "z"\nenabled = true\nenter = 4\n\n[[rule]]\nid = "route"\nseverity = "warn"\n'
    rules = load_rules(write(tmp_path, text))
    assert [rule.id for rule in rules] == list(SHIPPED)
    changed = {rule.id: rule for rule in rules}
    assert changed.pop("z") == replace(SHIPPED["z"], enabled=True, enter=4.0)
    assert changed.pop("route") == replace(SHIPPED["route"], severity=Severity.WARN)
    assert all(SHIPPED[name] == rule for name, rule in changed.items())


def test_a_new_rule_comes_after_those_that_ship_with_the_defaults_of_a_rule(tmp_path: Path) -> None:
    text = '[[rule]]\nid = "thin"\nmetric = "imbalance"\nop = "<="\nenter = -0.5\nexit = -0.4\nscope = "BYBIT:*"\n'
    *shipped, own = load_rules(write(tmp_path, text))
    assert tuple(shipped) == DEFAULT_RULES
    assert own == Rule(id="thin", metric=Metric.IMBALANCE, op="<=", enter=-0.5, exit=-0.4, scope="BYBIT:*")


def test_an_empty_rule_file_changes_nothing(tmp_path: Path) -> None:
    assert load_rules(write(tmp_path, "# nothing yet\n")) == DEFAULT_RULES


WORDS = [
    "[[rule]]\n",
    'id = "z"\n',
    "enter = ",
    "exit = ",
    "scope = ",
    "3\n",
    "nan\n",
    '"a"\n',
    "[",
    "]",
    "\x1b",
    "rule = ",
    "{}",
    "'\n",
]


@given(
    data=st.one_of(
        st.binary(max_size=100), st.lists(st.sampled_from(WORDS), max_size=15).map(lambda words: "".join(words).encode())
    )
)
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_bytes_give_anything_but_one_line(tmp_path: Path, data: bytes) -> None:
    said = ""
    try:
        load_rules(write(tmp_path, data))
    except ArbtopError as error:
        said = str(error)
    assert said == clean_text(said, 10_000), "a control character, or a second line"


def test_the_configurations_threshold_is_that_of_the_rule_that_ships_unless_a_file_says_otherwise(tmp_path: Path) -> None:
    def limits(path: Path | None) -> tuple[float | None, float | None]:
        (depeg,) = [rule for rule in rules_of(Alerts(depeg_bp=50.0), path) if rule.id == "depeg"]
        return depeg.enter, depeg.exit

    assert limits(None) == (50.0, 37.5)
    assert limits(write(tmp_path, '[[rule]]\nid = "depeg"\nenter = 80\n')) == (80.0, 37.5)
    assert rules_of(Alerts(), None) == DEFAULT_RULES
