"""What the list of shipped models says of each, counted once: ``python -m kvcalc.memory.shipped``.

Writes shipped.jsonl beside this file, and kvcalc/spec/index.jsonl, which has the specs themselves. A
spec whose file is another one now is counted when it is asked for; tests/spec/test_index.py holds both
files to the specs.
"""

import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from kvcalc.spec import index
from kvcalc.spec.model import ModelSpec

FILE = os.path.join(os.path.dirname(__file__), "shipped.jsonl")


def records(files: Iterable[Path]) -> list[dict[str, Any]]:
    """For each spec file its name, family, hub id, parameters, and what it keeps in bf16."""
    written = index.known(FILE)
    found = []
    for path in files:
        text = written.get(index.key(path))
        found.append(_counted(path) if text is None else json.loads(text))
    return found


def _counted(path: Path) -> dict[str, Any]:
    from kvcalc.dtypes import CacheDtypes
    from kvcalc.memory.cache import cache_function
    from kvcalc.memory.estimate import DEFAULT_CONTEXT
    from kvcalc.memory.grid import kinds
    from kvcalc.memory.weights import summarise
    from kvcalc.spec.catalog import unread
    from kvcalc.spec.loader import load_spec_file

    spec = load_spec_file(path)
    parameters = summarise(spec)
    function = cache_function(spec, CacheDtypes())
    tokens = spec.encoder.tokens if spec.encoder and spec.encoder.tokens else 0
    return {
        "name": path.stem,
        "family": path.parent.name,
        "parameters": parameters.total,
        "active_parameters": parameters.active,
        "attention": kinds(spec),
        "bytes_per_token": function.bytes_per_token,
        "fixed_bytes_per_sequence": function.fixed_bytes(tokens),
        "hub_id": spec.hub_id[0] if spec.hub_id else "",
        "published_parameters": spec.checkpoint and spec.checkpoint.parameters,
        "config_read": not unread(spec),
        # At the length that a question has where none is given.
        "next_token_bytes": function.next_token_bytes(DEFAULT_CONTEXT),
        "context": spec.max_position_embeddings,
        "modality": modality(spec),
        "released": spec.released,
    }


def modality(spec: ModelSpec) -> str:
    """``text``, ``text+vision``, ``text+vision+audio``, ``text+audio``: what goes in or comes out.

    A tower counts whether or not its parameters do; an encoder without a vocabulary hears.
    """
    parts = " ".join((*spec.towers, *spec.left_out))
    hears = "audio" in parts or (spec.encoder is not None and spec.encoder.embedding == "none")
    return "text" + "+vision" * ("vision" in parts) + "+audio" * hears


def texts() -> dict[str, str]:
    """What each of the two written files should hold."""
    from kvcalc.spec.catalog import shipped
    from kvcalc.spec.loader import load_spec_file

    files = shipped().values()
    specs = [(index.key(path), index.to_text(load_spec_file(path))) for path in files]
    rows = [(index.key(path), json.dumps(_counted(path))) for path in files]
    return {
        place: "".join(f"{key}\t{text}\n" for key, text in found)
        for place, found in ((index.FILE, specs), (FILE, rows))
    }


if __name__ == "__main__":
    for place, text in texts().items():
        Path(place).write_text(text, encoding="utf-8")
