"""The export dialog without its widgets: which alerts, in which format, with which times, under which name; preview and write.

The preview is the beginning of the very bytes that are written. With the default times they are those of a headless export of
the same alerts. Bytes and files are `tui/export.py`.
"""

from collections.abc import Callable, Iterable, Mapping
from datetime import tzinfo
from pathlib import Path
from typing import Final, Literal, TypeAlias

from msgspec import Struct, structs

from analytics.alert import Alert
from feeds.errors import InputError
from feeds.model import Ns
from feeds.text import clean_text
from tui.export import Cell, export_bytes, export_path, format_of, local_text, replace_file, utc_text

Scope: TypeAlias = Literal["shown", "all", "unacked"]
Format: TypeAlias = Literal["csv", "jsonl"]
Times: TypeAlias = Literal["utc", "epoch_ns", "local"]

TIMES: Final[Mapping[Times, Callable[[Ns, tzinfo | None], Cell]]] = {
    "utc": lambda at, zone: utc_text(at),
    "epoch_ns": lambda at, zone: at or None,
    "local": local_text,
}
"""How the times are written: ISO in UTC, whole ns since 1970, ISO with the offset of a zone."""


class Exporting(Struct, frozen=True, kw_only=True):
    """What the dialog is set to. `zone` is that of local times; None is the machine's."""

    directory: Path
    name: str
    scope: Scope = "shown"
    fmt: Format = "csv"
    times: Times = "utc"
    zone: tzinfo | None = None

    def with_format(self, fmt: Format) -> "Exporting":
        """In another format; a name that ends in the old one's suffix follows."""
        stem = self.name.removesuffix(f".{self.fmt}")
        return structs.replace(self, fmt=fmt, name=self.name if stem == self.name else f"{stem}.{fmt}")

    def chosen(self, shown: Iterable[Alert], every: Iterable[Alert]) -> list[Alert]:
        """The alerts of the scope, by number whatever the screen's order. Muted ones are alerts like any other."""
        within = shown if self.scope == "shown" else every
        return sorted((a for a in within if self.scope != "unacked" or not a.acked_ns), key=lambda alert: alert.seq)

    def preview(self, alerts: Iterable[Alert], n: int = 3) -> list[str]:
        """The first `n` lines of what `write` would write of these alerts."""
        first = [alert for _, alert in zip(range(n), alerts, strict=False)]
        return self._bytes(first).decode().splitlines()[:n]

    @property
    def path(self) -> Path:
        """Where it goes. Raises InputError for a name that cannot be, or whose suffix is another format's."""
        path = export_path(self.directory, self.name)
        if format_of(path) != self.fmt:
            raise InputError(f"{clean_text(self.name, 80)}: the format is {self.fmt}; end the name in .{self.fmt}")
        return path

    @property
    def taken(self) -> bool:
        """There is a file of that name: ask before it is overwritten. Raises as `path` does."""
        return self.path.exists()

    def write(self, alerts: Iterable[Alert], overwrite: bool = False) -> Path:
        """Write these alerts as one whole file; returns where it is.

        Raises:
            InputError: the name cannot be, or is taken and `overwrite` was not said.
            ArbtopError: the disk refused it; the old file stands.
        """
        path = self.path
        if path.exists() and not overwrite:
            raise InputError(f"{clean_text(self.name, 80)}: there is a file of this name; overwrite it or choose another name")
        replace_file(path, self._bytes(alerts))
        return path

    def _bytes(self, alerts: Iterable[Alert]) -> bytes:
        written = TIMES[self.times]
        return export_bytes(alerts, self.fmt, lambda at: written(at, self.zone))


def default_name(now: Ns, fmt: Format = "csv") -> str:
    """`alerts-20240808T235812Z.csv`, of receive time: in a replay that of the recording."""
    stamp = (utc_text(now) or utc_text(1) or "")[:19]
    return f"alerts-{stamp.replace('-', '').replace(':', '')}Z.{fmt}"
