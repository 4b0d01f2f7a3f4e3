"""Textual's bindings, made from the key table."""

from textual.binding import Binding, BindingType

from tui.keys import KEYS


def bind(*ids: str) -> list[BindingType]:
    """A binding for each line of the table that a widget or screen answers to. Raises KeyError for an id that is not there."""
    return [
        Binding(
            ",".join(key.keys),
            key.does,
            key.label,
            key_display=key.face,
            priority=key.priority,
            tooltip=key.meaning,
            id=key.id,
        )
        for key in (KEYS[id_] for id_ in ids)
    ]
