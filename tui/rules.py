"""A rule file: `[[rule]]` tables that change the alert rules that ship, or add to them.

A rule whose id ships is that rule with the stated fields changed; any other is new. What a rule means, its ranges and what fits
together is `analytics/alerts.py`; how a mistake is located is `tui/toml.py`.
"""

from collections.abc import Sequence
from difflib import get_close_matches
from pathlib import Path

from msgspec.structs import asdict

from analytics.alerts import DEFAULT_RULES, Rule, shipped_rules
from analytics.settings import Alerts
from feeds.text import clean_text
from tui.toml import make, read_toml

TABLE = "rule"


def rules_of(alerts: Alerts, path: Path | None) -> tuple[Rule, ...]:
    """Those of a run: the rules that ship, at the configuration's thresholds, as a file has them. Raises like `load_rules`."""
    shipped = shipped_rules(alerts.depeg_bp)
    return shipped if path is None else load_rules(path, shipped)


def load_rules(path: Path, defaults: Sequence[Rule] = DEFAULT_RULES) -> tuple[Rule, ...]:
    """All rules: the defaults in their order, changed where the file says so, then the file's own in its order.

    Raises:
        InputError: the file is not there, cannot be read, or has a mistake; with file, line and mend.
    """
    toml = read_toml(path)
    for key in toml.root:
        if key != TABLE:
            raise toml.mistake((key,), f'unknown key "{clean_text(key)}"; a rule file holds [[{TABLE}]] tables and nothing else')
    entries = toml.root.get(TABLE, [])
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise toml.mistake((TABLE,), f"write [[{TABLE}]] with two brackets on each side, and the rule's keys below it")
    rules = {rule.id: rule for rule in defaults}
    stated: dict[str, int] = {}
    for place, entry in enumerate(entries):
        where = (TABLE, place)
        name = entry.get("id")
        if not isinstance(name, str):
            text = f"[[{TABLE}]] needs an id" if name is None else "id must be text"
            raise toml.mistake(
                (*where, "id"), f"{text}: that of a rule that ships ({', '.join(rules)}) to change it, or a new one"
            )
        if name in stated:
            line = toml.line((TABLE, stated[name]))
            raise toml.mistake((*where, "id"), f"rule {clean_text(name)} stands on line {line} already; make them one")
        stated[name] = place
        if name not in rules and "metric" not in entry:
            near = get_close_matches(name, rules, 1)
            mend = f'did you mean "{near[0]}"?' if near else "a new rule needs a metric"
            raise toml.mistake((*where, "id"), f'no rule "{clean_text(name)}" ships; {mend}')
        shipped = asdict(rules[name]) if name in rules else {}
        rules[name] = make(toml, Rule, entry, where, f"[[{TABLE}]] {clean_text(name)}", shipped)
    return tuple(rules.values())
