"""How this process's allocator treats large blocks: each is the system's own and goes back to it at once.

The default of glibc learns from the first large block that is freed to keep such room for itself. One message of 20 MiB that is
refused then leaves megabytes behind, and the next one more (measured: 5 MB after two, none with this). Where the C library knows
no such thing nothing happens.
"""

import ctypes
from typing import Final

MMAP_THRESHOLD: Final = -3
"""Named M_MMAP_THRESHOLD in malloc.h; setting it also ends the learning."""
LARGE_BYTES: Final = 1 << 20


def return_large_blocks() -> bool:
    """Whether the allocator took it."""
    try:
        return bool(ctypes.CDLL(None).mallopt(MMAP_THRESHOLD, LARGE_BYTES))
    except (AttributeError, OSError):
        return False
