"""Settings of the memory allocators: memory that is freed goes back to the system.

Each thread of glibc's allocator can have an arena of its own, and Arrow's pool keeps freed memory.
After many large requests, a worker would hold several hundred megabytes that it does not use.
"""

import ctypes

import pyarrow as pa

ARENAS = 2
TRIM_BYTES = 1 << 17
"""Size in bytes of free memory at the end of an arena that is returned to the system."""
_TRIM_THRESHOLD, _ARENA_MAX = -1, -8  # names of options in glibc's malloc.h


def return_freed_memory() -> None:
    """Limit the number of arenas, and let Arrow allocate with `malloc`.

    On a system without glibc, only Arrow is changed.
    """
    pa.set_memory_pool(pa.system_memory_pool())
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_ARENA_MAX, ARENAS)
        mallopt(_TRIM_THRESHOLD, TRIM_BYTES)
