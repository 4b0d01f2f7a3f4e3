"""The themes that ship: no text that cannot be read, no pair of opposites that a colour-blind trader takes for each other."""

import tomllib
from importlib.resources import files
from pathlib import Path

import pytest

from tests.colour import VISION, contrast, distance, lab
from tui.theme import ANSI_COLOURS, GROUNDS, ROLES, Theme, load_theme, split_style, theme_names

NOWHERE = Path("no-such-directory")
SHIPPED = {name: load_theme(name, NOWHERE) for name in theme_names(NOWHERE)}
TRUECOLOUR = {name: theme for name, theme in SHIPPED.items() if not theme.ansi}
TEXT_GROUNDS = ("background", "surface", "cursor", "shade")
BARS = {"bid_bar", "ask_bar"}

TEXT_CONTRAST = 4.5
BAR_CONTRAST = 3.0
SAFE_DISTANCE = 60.0
SEVERITY_LIGHTNESS = 20.0
"""L* by which warn and crit of okabe differ, in each kind of colour vision: a fifth of the way from black to white."""


def colour(theme: Theme, role: str) -> str:
    return split_style(theme.roles[role])[1]


# The ruler itself.


def test_contrast_is_that_of_wcag() -> None:
    assert contrast("#000000", "#ffffff") == pytest.approx(21)
    assert contrast("#ffffff", "#000000") == pytest.approx(21)
    assert contrast("#3d86b0", "#3d86b0") == pytest.approx(1)
    assert contrast("#767676", "#ffffff") == pytest.approx(4.54, abs=0.01)


def test_lightness_runs_from_black_to_white() -> None:
    assert lab("#000000") == pytest.approx((0, 0, 0), abs=0.01)
    assert lab("#ffffff") == pytest.approx((100, 0, 0), abs=0.02)
    assert lab("#ff0000") == pytest.approx((53.24, 80.09, 67.20), abs=0.1)


@pytest.mark.parametrize(
    ("bid", "ask", "known"),
    [
        ("#26a69a", "#ef5350", (103, 48, 26, 121)),
        ("#00c853", "#ff1744", (147, 10, 49, 137)),
        ("#56b4e9", "#e69f00", (113, 111, 101, 87)),
        ("#3ec9c1", "#f0a202", (101, 85, 73, 91)),
    ],
)
def test_distances_are_those_of_the_published_table(bid: str, ask: str, known: tuple[int, ...]) -> None:
    assert tuple(distance(bid, ask, vision) for vision in VISION) == pytest.approx(known, abs=1)


# The themes.


def test_the_three_themes_ship() -> None:
    assert set(SHIPPED) == {"ansi", "midnight", "okabe"}
    assert set(TRUECOLOUR) == {"midnight", "okabe"}


@pytest.mark.parametrize("name", SHIPPED)
def test_a_shipped_theme_says_every_role_and_ground_itself(name: str) -> None:
    said = tomllib.loads((files("themes") / f"{name}.toml").read_text("utf-8"))
    assert set(said) == {"dark", "ansi", "colors", "roles"}
    assert tuple(said["roles"]) == ROLES
    assert tuple(said["colors"]) == GROUNDS
    assert dict(SHIPPED[name].roles) == said["roles"]


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("name", TRUECOLOUR)
def test_every_role_can_be_read_on_every_ground(name: str, role: str) -> None:
    theme = TRUECOLOUR[name]
    found = {ground: contrast(colour(theme, role), getattr(theme.colors, ground)) for ground in TEXT_GROUNDS}
    print(f"{name} {role:8} " + " ".join(f"{ground} {ratio:.2f}" for ground, ratio in found.items()))
    assert min(found.values()) >= (BAR_CONTRAST if role in BARS else TEXT_CONTRAST)


@pytest.mark.parametrize("name", TRUECOLOUR)
def test_no_role_is_dimmed_below_its_measured_contrast(name: str) -> None:
    assert not [role for role in ROLES if "dim" in split_style(TRUECOLOUR[name].roles[role])[0]]


@pytest.mark.parametrize("name", TRUECOLOUR)
def test_the_rows_of_cursor_and_shade_are_seen_and_shade_is_slight(name: str) -> None:
    colors = TRUECOLOUR[name].colors
    shade, cursor = (distance(colors.background, ground) for ground in (colors.shade, colors.cursor))
    print(f"{name} shade ΔE {shade:.1f} cursor ΔE {cursor:.1f} border {contrast(colors.border, colors.background):.2f}")
    assert 1 < shade < 5 < cursor


@pytest.mark.parametrize(("one", "other"), [("bid", "ask"), ("good", "bad"), ("good", "crit")])
def test_opposites_of_okabe_stay_apart_without_red_or_green_cones(one: str, other: str) -> None:
    theme = SHIPPED["okabe"]
    found = {vision: distance(colour(theme, one), colour(theme, other), vision) for vision in VISION}
    print(f"okabe {one}/{other} " + " ".join(f"{vision} {apart:.1f}" for vision, apart in found.items()))
    assert min(found[vision] for vision in ("normal", "deutan", "protan")) >= SAFE_DISTANCE


def test_warn_and_crit_of_okabe_differ_in_lightness_for_every_eye() -> None:
    theme = SHIPPED["okabe"]
    found = {vision: lab(colour(theme, "warn"), vision)[0] - lab(colour(theme, "crit"), vision)[0] for vision in VISION}
    print("okabe warn-crit L* " + " ".join(f"{vision} {apart:.1f}" for vision, apart in found.items()))
    assert min(found.values()) >= SEVERITY_LIGHTNESS


@pytest.mark.parametrize("name", TRUECOLOUR)
def test_no_two_severities_or_sides_of_a_theme_look_alike(name: str) -> None:
    theme = TRUECOLOUR[name]
    for group in (("crit", "warn", "info"), ("bid", "ask", "mine"), ("good", "bad"), ("text", "stale"), ("bid_bar", "ask_bar")):
        shades = [colour(theme, role) for role in group]
        assert min(distance(a, b) for at, a in enumerate(shades) for b in shades[:at]) > 20, group


def test_ansi_leaves_every_colour_to_the_terminal() -> None:
    theme = SHIPPED["ansi"]
    assert theme.ansi
    assert {colour(theme, role) for role in ROLES} <= set(ANSI_COLOURS)
    assert theme.colors.background == "default"
    assert {colour(theme, role) for role in ROLES}.isdisjoint({theme.colors.cursor, "black", "white", "bright_white"})
    assert len({theme.roles[role] for role in ("crit", "warn", "info")}) == 3
