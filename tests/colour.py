"""What an eye makes of two colours: contrast, distance, and both with other colour vision. For tests of themes.

Contrast: WCAG 2.2, relative luminance. Colour vision: Machado, Oliveira and Fernandes 2009, matrices of severity 1.0, on
linear RGB. Distance: CIE 1976, in Lab with white D65. Colours are `#rrggbb`, sRGB.
"""

from typing import Final, TypeAlias

Triple: TypeAlias = tuple[float, float, float]

_LUMINANCE: Final[Triple] = (0.2126, 0.7152, 0.0722)
_TO_XYZ: Final[tuple[Triple, Triple, Triple]] = (
    (0.4124, 0.3576, 0.1805),
    (0.2126, 0.7152, 0.0722),
    (0.0193, 0.1192, 0.9505),
)
_WHITE: Final[Triple] = (0.95047, 1.0, 1.08883)

VISION: Final[dict[str, tuple[Triple, Triple, Triple]]] = {
    "normal": ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0)),
    "deutan": ((0.367322, 0.860646, -0.227968), (0.280085, 0.672501, 0.047413), (-0.011820, 0.042940, 0.968881)),
    "protan": ((0.152286, 1.052583, -0.204868), (0.114503, 0.786281, 0.099216), (-0.003882, -0.048116, 1.051998)),
    "tritan": ((1.255528, -0.076749, -0.178779), (-0.078411, 0.930809, 0.147602), (0.004733, 0.691367, 0.303900)),
}


def _linear(colour: str) -> Triple:
    red, green, blue = (int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5))
    return _expand(red), _expand(green), _expand(blue)


def _expand(channel: float) -> float:
    return channel / 12.92 if channel <= 0.04045 else float(((channel + 0.055) / 1.055) ** 2.4)


def _dot(row: Triple, value: Triple) -> float:
    return row[0] * value[0] + row[1] * value[1] + row[2] * value[2]


def contrast(one: str, other: str) -> float:
    """WCAG contrast ratio, from 1 to 21."""
    dark, light = sorted(_dot(_LUMINANCE, _linear(colour)) for colour in (one, other))
    return (light + 0.05) / (dark + 0.05)


def lab(colour: str, vision: str = "normal") -> Triple:
    """L*, a*, b* of a colour as seen with `vision`, one of `VISION`."""
    seen = [min(max(_dot(row, _linear(colour)), 0.0), 1.0) for row in VISION[vision]]
    linear = (seen[0], seen[1], seen[2])
    x, y, z = (_root(_dot(row, linear) / white) for row, white in zip(_TO_XYZ, _WHITE, strict=True))
    return 116 * y - 16, 500 * (x - y), 200 * (y - z)


def _root(value: float) -> float:
    return float(value ** (1 / 3)) if value > 0.008856 else 7.787 * value + 16 / 116


def distance(one: str, other: str, vision: str = "normal") -> float:
    """CIE76 ΔE of two colours as seen with `vision`."""
    first, second = lab(one, vision), lab(other, vision)
    return float(sum((a - b) ** 2 for a, b in zip(first, second, strict=True)) ** 0.5)
