"""The one gate for text that came from outside: venue messages, close reasons, file names in recordings, HTTP bodies.

A terminal executes control bytes, and none of the widgets that draw text later neutralises them (measured), so they are
replaced where they enter.
"""

import re

_UNSAFE = re.compile(
    "[\x00-\x1f\x7f-\x9f"  # C0, DEL, C1
    "\u00ad\u061c\u180e"  # soft hyphen, Arabic letter mark, Mongolian vowel separator
    "\u200b-\u200f\u2028-\u202e\u2060-\u206f"  # zero width, separators, bidi controls
    "\ufeff\ufff9-\ufffb\ud800-\udfff"  # byte order mark, annotations, lone surrogates
    "\U000e0000-\U000e007f]"  # tags
)


def clean_text(text: str | bytes, limit: int = 64) -> str:
    """Text that is safe to draw, log and store: control characters become U+FFFD, at most `limit` characters are kept."""
    if isinstance(text, bytes):
        text = text[: 4 * limit].decode("utf-8", "replace")
    return _UNSAFE.sub("\ufffd", text[:limit])
