"""The family of errors. `ArbtopError` is the root: a mistake of the user or of a file becomes one line and exit code 2.

A venue's nonsense is never an exception that leaves the driver: it becomes a counter and a state (`BadFrame` is caught once,
where frames are handed to a session).
"""

import msgspec

DECODE_ERRORS = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
"""What a typed decoder raises on hostile bytes; the last two are not msgspec errors by name (reliability 4, measured)."""


class ArbtopError(Exception):
    """Something to tell the user in one line: what, where, and how to mend it."""


class InputError(ArbtopError):
    """A file or argument that cannot be used."""


class BadFrame(ArbtopError):  # noqa: N818 - the name says what arrived
    """A frame that a venue's session refuses. The driver quarantines and counts it."""


class NoClock(BadFrame):
    """Who answered is well, and tells no venue's time."""
