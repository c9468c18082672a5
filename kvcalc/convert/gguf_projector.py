"""The projector file (mmproj) of a folder with a GGUF model: named with its bytes, not counted.

It holds a model's towers under architecture ``clip``; which model's it is, no key says: here the one
projector of the folder, where it projects to the model's width (``clip.vision.projection_dim``).
Source: llama.cpp v0.5.0, gguf-py/gguf/constants.py (Keys.ClipVision).
"""

import os
from collections.abc import Iterator
from dataclasses import replace
from math import prod
from pathlib import Path

from kvcalc.convert.gguf import GgufHeader, read_gguf
from kvcalc.convert.imported import Imported
from kvcalc.errors import KvcalcError


def with_projector(found: Imported, path: Path) -> Imported:
    """The model of the file at ``path``, and beside it the projector file of its folder."""
    weights, spec = found.weights, found.spec
    beside = tuple(_beside(path, spec.hidden_size))
    if weights is None or not beside:
        return found
    left_out = (*spec.left_out, *(what for what, _ in beside))
    return replace(
        found,
        spec=replace(spec, left_out=left_out),
        weights=replace(weights, beside=(*weights.beside, *beside)),
    )


def said_of_projector(header: GgufHeader) -> str:
    """Why a projector file alone is no model."""
    return (
        f"{header.path}: a projector for images or audio (architecture 'clip'), no language model: "
        f"{_parameters(header):,} parameters in {len(header.tensors)} tensors of "
        f"{_num_bytes(header):,} bytes. Name the model's file beside it"
    )


def _beside(path: Path, width: int) -> Iterator[tuple[str, int]]:
    try:
        names = sorted(os.listdir(path.parent))
    except OSError:
        return
    names = [each for each in names if each.lower().startswith("mmproj") and each.endswith(".gguf")]
    if len(names) != 1 or names[0] == path.name:
        return
    try:
        header = read_gguf(path.parent / names[0])
    except KvcalcError:
        return
    widths = [header.values.get(f"clip.{part}.projection_dim") for part in ("vision", "audio")]
    if header.values.get("general.architecture") == "clip" and width in widths:
        what = f"projector file {names[0]} ({_parameters(header):,} parameters)"
        yield what, _num_bytes(header)


def _parameters(header: GgufHeader) -> int:
    return sum(prod(each.shape) for each in header.tensors)


def _num_bytes(header: GgufHeader) -> int:
    return sum(each.num_bytes for each in header.tensors)
