"""What a message is made of, for tests that hold a simulator's frames against recorded ones."""


def shape(value: object, path: str = "") -> set[str]:
    """Every key in a message with the type of what stands there; a text that is a number is called so."""
    if isinstance(value, dict):
        return set().union(*(shape(item, f"{path}.{key}") for key, item in value.items())) if value else {f"{path} object"}
    if isinstance(value, list):
        return set().union(*(shape(item, f"{path}[]") for item in value)) if value else set()
    if isinstance(value, str):
        try:
            float(value)
        except ValueError:
            return {f"{path} {'text' if value else 'blank'}"}
        return {f"{path} number as text"}
    return {f"{path} {type(value).__name__}"}
