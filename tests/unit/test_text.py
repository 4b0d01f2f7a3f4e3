"""Nothing that a terminal executes gets past the gate for foreign text (reliability 5)."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from feeds.text import clean_text

BIDI = [0x061C, 0x200E, 0x200F, *range(0x202A, 0x202F), *range(0x2066, 0x206A)]
ZERO_WIDTH = [0x00AD, 0x180E, 0x200B, 0x200C, 0x200D, 0x2060, 0xFEFF]


@pytest.mark.parametrize("code", [*range(0x20), *range(0x7F, 0xA0), *BIDI, *ZERO_WIDTH, 0x2028, 0x2029, 0xD800, 0xDFFF, 0xE0041])
def test_a_control_character_never_survives(code: int) -> None:
    assert clean_text(f"a{chr(code)}b") == "a\ufffdb"


@pytest.mark.parametrize(
    "attack",
    ["\x1b]52;c;ZXZpbA==\x07", "\x1b]0;title\x1b\\", "\x1b[2J", "\x9b31m", "\x90q\x9c", "a\r\nb", "\x1bP+q\x1b\\"],
)
def test_an_escape_sequence_is_only_text_afterwards(attack: str) -> None:
    for cleaned in (clean_text(attack), clean_text(attack.encode())):
        assert not any(unicodedata.category(char) == "Cc" for char in cleaned)


def test_ordinary_text_is_left_as_it_is() -> None:
    for text in ("BTCUSDT", "[BTC-PERP]", "Zürich 東京 币", "1.5 µs ± 3"):
        assert clean_text(text) == text
        assert clean_text(text.encode()) == text


def test_the_length_is_bounded_before_anything_else() -> None:
    assert clean_text("x" * 100) == "x" * 64
    assert clean_text(b"x" * 1_000_000, 10) == "x" * 10
    assert clean_text("語" * 100, 5) == "語" * 5
    assert clean_text(("語" * 100).encode()) == "語" * 64


def test_a_cut_or_broken_byte_sequence_is_replaced_not_raised() -> None:
    assert clean_text(b"ok\xff\xfe\xe8\xaa") == "ok\ufffd\ufffd\ufffd"


@given(st.one_of(st.text(max_size=300), st.binary(max_size=300)), st.integers(min_value=0, max_value=80))
def test_whatever_comes_is_short_printable_and_encodable(text: str | bytes, limit: int) -> None:
    cleaned = clean_text(text, limit)
    assert len(cleaned) <= limit
    cleaned.encode()
    assert not any(unicodedata.category(char) in ("Cc", "Cs", "Zl", "Zp") for char in cleaned)
    assert clean_text(cleaned, limit) == cleaned
