"""What measured engines' own code: tests/engines/<engine>_measured.py, tests/mlx/measured.py.

Each has what the page of accuracy says of it, ``section()``, and what of a release says what changed,
``SOURCES`` (tests/engines/releases.py).
"""

from importlib import import_module
from pathlib import Path
from types import ModuleType

from kvcalc.engines import ENGINES

ROOT = Path(__file__).resolve().parent.parent.parent


def modules() -> dict[str, ModuleType]:
    """Engine -> its module, in the order of ENGINES."""
    found = {}
    for name, package in ENGINES.items():
        word = package.split(".")[-1]
        for place in (f"tests/engines/{word}_measured", f"tests/{word}/measured"):
            if (ROOT / f"{place}.py").exists():
                found[name] = import_module(place.replace("/", "."))
    return found
