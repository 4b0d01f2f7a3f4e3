"""Captures of other recorders made into recordings (DESIGN 3 "Importers"): one file a format, and `capture` that drives them."""

from feeds.importers.capture import import_capture
from feeds.importers.report import ConnectionReport, ImportReport, StreamCount

__all__ = ["ConnectionReport", "ImportReport", "StreamCount", "import_capture"]
