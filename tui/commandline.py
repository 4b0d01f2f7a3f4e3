"""What every command of the command line shares: errors as lines and exit codes, options, progress, and how results are printed.

Exit codes: 0 done, 1 failed, 2 wrong usage or bad input, 130 stopped by Ctrl-C. Results go to stdout, everything else to stderr.
"""

import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, Final

import click

from feeds.errors import ArbtopError, InputError
from feeds.text import clean_text

LINE: Final = 2000
"""Characters of an error line."""
INTERRUPTED: Final = 130
DASH: Final = "—"


class Failure(click.ClickException):
    """One line on stderr; something outside failed."""

    exit_code = 1

    def show(self, file: IO[Any] | None = None) -> None:
        click.echo(error_line(self.message), file=file, err=True)


class Mistake(Failure):
    """One line on stderr; the user can mend it."""

    exit_code = 2


def error_line(text: str) -> str:
    return f"arbtop: {clean_text(text, LINE)}"


class Commands(click.Group):
    """Where every command's errors become lines and exit codes."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except InputError as error:
            raise Mistake(str(error)) from error
        except ArbtopError as error:
            raise Failure(str(error)) from error
        except BrokenPipeError:
            raise  # the reader has seen enough: click ends quietly
        except OSError as error:
            where = f"{error.filename}: " if error.filename is not None else ""
            raise Failure(f"{where}{error.strerror or error}") from error
        except KeyboardInterrupt:
            raise click.exceptions.Exit(INTERRUPTED) from None


class Place(click.Path):
    """A path, or the address of what a tardis-machine has."""

    def __init__(self) -> None:
        super().__init__(path_type=Path, readable=False)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """A `Path` or a `feeds.machine.address.Address`. Raises InputError for an address that is none."""
        if not isinstance(value, str) or not value.startswith("tardis://"):
            return super().convert(value, param, ctx)
        from feeds.machine.address import Address

        return Address.of(value)


path_type = click.Path(path_type=Path, readable=False)
json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
state_option = click.option("--state", type=path_type, metavar="DIR", help="The state directory, in place of [paths] state.")


@contextmanager
def progress(label: str) -> Iterator[Callable[[float], None]]:
    """What to tell the share done, from 0 to 1: a bar on stderr where that is a terminal, and nothing elsewhere."""
    if not sys.stderr.isatty():
        yield lambda _share: None
        return
    steps = 1000
    with click.progressbar(length=steps, label=label, file=sys.stderr) as bar:
        yield lambda share: bar.update(max(int(share * steps) - bar.pos, 0))


def show(document: object, text: Callable[[], str], as_json: bool) -> None:
    """A command's result: the document as JSON (what is no number is null), or as text for people."""
    if not as_json:
        click.echo(text())
        return
    from msgspec import json

    click.echo(json.encode(document, enc_hook=lambda value: clean_text(str(value), LINE)))


def figure(value: float | None, form: str) -> str:
    return DASH if value is None else format(value, form)


def columns(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """Text columns, each as wide as its widest cell."""
    table = [heads, *rows]
    widths = [max(len(row[at]) for row in table) for at in range(len(heads))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in table]
