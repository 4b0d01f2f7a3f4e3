"""The colour themes that ship, one TOML file each, named after the theme. Data only: `tui/theme.py` reads them.

A new file here is a new theme. It says every role and ground, keeps the contrasts that tests/unit/test_colours.py computes, and
gives one hue one meaning (terminal-ui.md 5.2).
"""
