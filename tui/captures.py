"""Makes a recording of what is none yet: captures of other recorders, and what a tardis-machine has kept (DESIGN 4).

One path of data: whatever is played is a recording first. `arbtop import` keeps it, `arbtop replay` has it for as long as it
plays. Not here: what captures mean (`feeds.importers`), how a machine is read (`feeds.machine`).
"""

import asyncio
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Final

from tui.commandline import progress

if TYPE_CHECKING:
    from feeds.hub import Hub
    from feeds.importers import ImportReport
    from feeds.machine.address import Address
    from tui.config import Config

FETCHING: Final = 0.5
"""Share of the work that fetching is taken to be."""

Tell = Callable[[float], object]


def imported(
    places: "Sequence[Path | Address]",
    directory: Path,
    config: "Config",
    tell: Tell,
    *,
    market: str | None = None,
    instruments: Path | None = None,
) -> "ImportReport":
    """Make a recording of captures and of what machines have, merged by time.

    Raises:
        InputError: nothing that can be imported.
        ArbtopError: a machine that could not be read, a disk that is full.
    """
    from feeds.importers import import_capture
    from feeds.machine.address import Address
    from feeds.machine.fetch import fetch
    from feeds.venues import VENUES

    addresses = [place for place in places if isinstance(place, Address)]
    first = FETCHING if addresses else 0.0
    with ExitStack() as stack:
        kept = ""
        if addresses:  # on the disk that has room for the recording
            directory.parent.mkdir(parents=True, exist_ok=True)
            kept = stack.enter_context(TemporaryDirectory(prefix=".fetched-", dir=directory.parent))
        paths: list[Path] = []
        done = 0
        for place in places:
            if not isinstance(place, Address):
                paths.append(place)
                continue
            room = Path(kept) / str(done)
            room.mkdir()
            before = done / len(addresses)
            paths += asyncio.run(
                fetch(
                    place,
                    room,
                    lambda share, before=before: tell((before + share / len(addresses)) * first),  # type: ignore[misc]
                    proxy=config.venues.proxy or None,
                    ca_file=config.venues.ca_path(),
                )
            )
            done += 1
        return import_capture(
            paths,
            directory,
            venues=VENUES,
            market=market,
            instruments=instruments,
            progress=lambda done, total: tell(first + (1.0 - first) * (done / total if total else 1.0)),
            make_hub=_unheard_hub,
            version=version("arbtop"),
        )


@contextmanager
def as_recording(place: "Path | Address", config: "Config") -> "Iterator[Path]":
    """The recording to play: `place` itself, or one made of it that ends with the block. Raises like `imported`."""
    if isinstance(place, Path) and not _is_capture(place):
        yield place
        return
    with TemporaryDirectory(prefix="arbtop-") as room:
        with progress("import") as tell:
            made = imported([place], Path(room) / (place.name.partition(".")[0] or "capture"), config, tell)
        yield made.directory


def _is_capture(path: Path) -> bool:
    """Whether Tardis' lines are in it, and no recording."""
    from feeds.recognise import ARBTOP, TARDIS, TARDIS_RAW, format_of

    files = [file for file in sorted(path.iterdir()) if file.is_file()] if path.is_dir() else [path]
    forms = {format_of(file) for file in files}
    return ARBTOP not in forms and bool(forms & {TARDIS, TARDIS_RAW})


def _unheard_hub() -> "Hub":
    """A hub whose books are all that is wanted."""
    from feeds.hub import Hub
    from feeds.venue import NoListener
    from feeds.venues import VENUES

    return Hub(VENUES, NoListener())
