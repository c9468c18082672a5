"""The releases of transformers that are known, and the ones whose caches were measured.

Known are the releases on PyPI from 5.0.0 on. What one that is newer keeps nobody here has seen, so
it is refused by name; one that came out between two known ones is none.
"""

import re

from kvcalc.errors import UnsupportedError, UsageError

Release = tuple[int, int, int]

# Every model type was measured on the first; on the second every shipped model was run, and what
# differs stands in caches.py.
MEASURED: Release = (5, 23, 0)
NEWEST: Release = (5, 24, 0)
_OLDEST: Release = (5, 0, 0)

# Patch releases of each minor one of version 5 (PyPI, November 2026).
_PATCHES: dict[int, tuple[int, ...]] = {
    **dict.fromkeys((0, 1, 2, 3, 4, 7, 9, 11, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24), (0,)),
    5: (0, 1, 2, 3, 4), 6: (0, 1, 2), 8: (0, 1), 10: (1, 2, 4), 12: (0, 1), 13: (0, 1),
    14: (0, 1), 15: (0, 1), 16: (0, 1), 20: (0, 1, 2), 21: (0, 1), 22: (0, 1, 2),
}  # fmt: skip


def written(release: Release) -> str:
    """``5.23.0``."""
    return ".".join(map(str, release))


def release_of(version: str | None) -> Release:
    """The release that a text names, the newest known where it names none.

    ``5.23`` is 5.23.0, or the first of its patches. Raises UsageError for what is no known release
    and UnsupportedError for one of version 4.
    """
    if version is None:
        return NEWEST
    found = re.fullmatch(r"v?([0-9]{1,4})\.([0-9]{1,4})(?:\.([0-9]{1,4}))?", version.strip())
    if found is None:
        raise UsageError(
            f"--engine-version {version}: write a release of transformers, as {written(NEWEST)}"
        )
    major, minor = int(found[1]), int(found[2])
    patches = _PATCHES.get(minor, ()) if major == NEWEST[0] else ()
    release = (major, minor, int(found[3] or (patches[0] if patches else 0)))
    if release < _OLDEST:
        raise UnsupportedError(
            f"transformers {version}: its caches are accounted for from 5.0.0 on; "
            "version 4 kept windows, convolutions and states by other rules"
        )
    if release[2] not in patches:
        minor_is_known = f"; of {major}.{minor} there are " if patches else ""
        told = ", ".join(f"{major}.{minor}.{patch}" for patch in patches)
        raise UsageError(
            f"--engine-version {version}: no release of transformers that is known; "
            f"known are {written(_OLDEST)} to {written(NEWEST)}{minor_is_known}{told}"
        )
    return release
