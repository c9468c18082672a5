"""An imported model as a spec file: commented, sourced, and with the numbers that hold it."""

import os
from dataclasses import replace

from kvcalc.convert.files import load_model
from kvcalc.convert.hf import TRANSFORMERS
from kvcalc.convert.imported import Imported, model_name
from kvcalc.errors import NotFoundError, UsageError
from kvcalc.memory.cache import cache_function
from kvcalc.memory.weights import summarise
from kvcalc.spec.catalog import shipped
from kvcalc.spec.dump import SCHEMA_LINE, dump
from kvcalc.spec.model import Expect, ModelSpec


def read_source(source: str, name: str | None = None) -> Imported:
    """What ``kvcalc import`` was given, under the name it was given.

    Raises UsageError for a shipped spec's name and NotFoundError where there is nothing to import.
    """
    if not os.path.exists(source) and (spec := shipped().get(source)) is not None:
        raise UsageError(f"{source} is a shipped spec already: {spec}")
    found = load_model(source)
    if found is None:
        raise NotFoundError(
            f"nothing to import at {source}: expected a config.json or a folder with one, a "
            f".safetensors or .gguf file, or a hub id"
        )
    return replace(found, spec=replace(found.spec, name=model_name(name))) if name else found


def with_expect(spec: ModelSpec) -> ModelSpec:
    """The spec with the totals it has now, which ``kvcalc check`` will hold."""
    from kvcalc.dtypes import CacheDtypes

    parameters, found_towers = summarise(spec), bool(spec.towers)
    cache = cache_function(spec, CacheDtypes())
    per_token = cache.bytes_per_token
    encoder_tokens = spec.encoder.tokens if spec.encoder is not None else None
    fixed = cache.fixed_bytes(encoder_tokens or 0)
    return replace(spec, expect=Expect(
        parameters=parameters.total,
        language_model=parameters.language_model if found_towers else None,
        active_parameters=parameters.active
        if parameters.active != parameters.language_model
        else None,
        cache_bytes_per_token=per_token,
        fixed_cache_bytes=fixed or None,
    ))  # fmt: skip


def spec_text(found: Imported) -> str:
    """The YAML of an imported model, its assumptions as comments at the top."""
    lines = [SCHEMA_LINE.rstrip("\n")]
    if found.spec.source[0].endswith(".gguf"):
        lines.append("# Imported by kvcalc from a GGUF header, held to every tensor that it lists.")
    else:
        lines.append(
            f"# Imported by kvcalc, which reads configs as transformers {TRANSFORMERS} does."
        )
    if found.assumptions:
        lines.append("# Not in the file, so assumed; confirm each or state it here:")
        lines += [f"#   {_one_line(assumption)}" for assumption in found.assumptions]
    comments = {"expect": "computed on import: compare with what the publisher states"}
    return "\n".join(lines) + "\n" + dump(with_expect(found.spec), comments)


def _one_line(text: str) -> str:
    """Text for a comment: nothing of a hostile file may end it."""
    return "".join(letter if letter.isprintable() else "?" for letter in text)[:300]
