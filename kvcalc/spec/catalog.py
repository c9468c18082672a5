"""Find a spec: by the name of a shipped one, by its hub id, or by a path. Reads only what it must."""

import os
import re
from collections.abc import Iterable, Iterator
from functools import cache
from os.path import dirname, isdir, isfile, join
from typing import TYPE_CHECKING

from kvcalc.errors import NotFoundError
from kvcalc.frozen import frozen
from kvcalc.names import hint
from kvcalc.spec import index
from kvcalc.spec.model import ModelSpec
from kvcalc.spec.stored import StoredWeights

if TYPE_CHECKING:
    from pathlib import Path

_PACKAGE = dirname(dirname(os.path.realpath(__file__)))
SUFFIXES = (".yaml", ".yml")
# A team's budgets, which stand among its specs.
POLICY = "kvcalc.yaml"
_VARIANT = r"[-_](instruct|chat|base|it|pt|hf)$"


def specs_folder() -> "Path":
    """Where the shipped specs are: inside the installed package, or beside it in a source tree."""
    # Paths as objects are slow to import, and one model by its name needs none.
    from pathlib import Path

    return Path(_root())


@cache
def _root() -> str:
    installed = join(_PACKAGE, "_specs")
    return installed if isdir(installed) else join(dirname(_PACKAGE), "model_specs")


def shipped() -> "dict[str, Path]":
    """Name -> file of every shipped spec, without opening any."""
    found = {}
    root = specs_folder()
    for family in sorted(os.listdir(root)):
        if (root / family).is_dir():
            for name in os.listdir(root / family):
                if name.endswith(SUFFIXES):
                    found[name.rsplit(".", 1)[0]] = root / family / name
    return dict(sorted(found.items()))


def match(pattern: str) -> "dict[str, Path]":
    """Shipped specs whose name or family holds ``pattern``, or whose name fits it as a glob; else the
    one whose shape a hub id has.

    Raises NotFoundError naming what was meant when none does.
    """
    from fnmatch import fnmatch

    lowered = pattern.lower()
    found = {
        name: path
        for name, path in shipped().items()
        if fnmatch(name, lowered) or lowered in name or lowered in path.parent.name
    }
    if not found:
        from kvcalc.spec import hub_ids as known

        entry = known.find(pattern)
        if entry is None:
            raise NotFoundError(_suggest(pattern))
        return {entry.spec: shipped()[entry.spec]}
    return found


def find(name: str) -> "Path":
    """The file of a model named by a shipped name, a hub id or a path.

    A hub id's is that of its shape (kvcalc/spec/hub_ids.py). Raises NotFoundError naming the shipped
    names that it may be.
    """
    from kvcalc.spec import hub_ids as known

    path = _file(name)
    if path is None:
        entry = known.find(name)
        path = None if entry is None else _file(entry.spec)
    if path is None:
        raise NotFoundError(_suggest(name))
    from pathlib import Path

    return Path(path)


def hub_ids() -> "Iterator[tuple[str, Path]]":
    """Every (hub id, file of its shape), in alphabetical order."""
    from kvcalc.spec.hub_ids import entries

    files = shipped()
    for entry in entries():
        yield entry.id, files[entry.spec]


def _file(name: str) -> str | None:
    """The file of a path or a shipped name."""
    if name.endswith(SUFFIXES) or (os.path.sep in name and os.path.exists(name)):
        from pathlib import Path

        return str(Path(name))
    lowered = name.lower()
    for family in os.listdir(_root()):
        file = join(_root(), family, f"{lowered}.yaml")
        if "/" not in lowered and isfile(file):
            return file
    return None


def _suggest(name: str) -> str:
    from kvcalc.spec import hub_ids as known

    names = [*shipped(), *(entry.id for entry in known.entries())] if "/" in name else [*shipped()]
    # A chat or base variant has its model's dimensions.
    trunk = re.sub(_VARIANT, "", name.lower())
    near = hint(name, names) or (hint(trunk, names) if trunk != name.lower() else "")
    near = near or known.near(name)
    return f"no model '{name}'{near and '; '}{near} ('kvcalc models' lists the shipped ones)"


@frozen
class Found:
    """A model that was found: its spec, where it came from, and what was assumed on the way.

    path: the file; for a shipped spec ``model_specs/<family>/<name>.yaml``.
    weights: what the tensors take, where files that hold them were read.
    """

    spec: ModelSpec
    path: str
    assumptions: tuple[str, ...] = ()
    weights: StoredWeights | None = None


def locate(model: str) -> Found:
    """Load a model and say where it was found, and whose shape it has. Raises as ``load`` does."""
    path = _file(model)
    if path is not None:
        spec = _read(path)
        return Found(spec, _shown(path), unread(spec))
    from kvcalc.spec import hub_ids as known

    entry = known.find(model)
    path = None if entry is None else _file(entry.spec)
    if entry is None or path is None:
        raise NotFoundError(_suggest(model))
    base = _read(path)
    spec = entry.of(base)
    return Found(spec, _shown(path), entry.told(base, spec) or unread(base))


def unread(spec: ModelSpec) -> tuple[str, ...]:
    """What there is to say of a spec whose source is not the model's own config."""
    return tuple(f"{spec.name}: {text}" for text in spec.source if "itself was not read" in text)


def _shown(path: str) -> str:
    return f"model_specs/{path[len(_root()) + 1 :]}" if _is_shipped(path) else path


def _is_shipped(path: str) -> bool:
    return path.startswith(f"{_root()}{os.path.sep}")


def _read(path: str) -> ModelSpec:
    """The spec of a file: from the index when it is a shipped one, unchanged."""
    spec = index.spec_of(path) if _is_shipped(path) else None
    if spec is None:
        from pathlib import Path

        from kvcalc.spec.loader import load_spec_file

        spec = load_spec_file(Path(path))
    return spec


def expand(models: Iterable[str]) -> list[str]:
    """Models as they were named, with the specs of a folder in the folder's place, and the shipped
    models whose names a pattern fits in the pattern's.

    A folder of a checkpoint (a config, weights) stays what it is. Raises NotFoundError for a pattern
    that none fits.
    """
    found: list[str] = []
    for model in models:
        if is_pattern(model):
            found += match(model)
            continue
        specs = _specs_under(model) if isdir(model) and not _is_checkpoint(model) else []
        found += specs or [model]
    return found


def is_pattern(model: str) -> bool:
    """Whether it names shipped models by a glob: ``qwen*``."""
    return any(sign in model for sign in "*?[") and not os.path.exists(model)


def _is_checkpoint(folder: str) -> bool:
    return any(name.endswith((".json", ".safetensors", ".gguf")) for name in os.listdir(folder))


def _specs_under(folder: str) -> list[str]:
    found = []
    for root, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        found += [
            os.path.join(root, name)
            for name in sorted(names)
            if name.endswith(SUFFIXES) and not name.startswith(".") and name != POLICY
        ]
    return found


def load(model: "str | Path") -> ModelSpec:
    """Load a spec by shipped name, hub id or path.

    Raises NotFoundError, FileError, or SpecError with every problem of the file.
    """
    return locate(model).spec if isinstance(model, str) else _read(str(model))
