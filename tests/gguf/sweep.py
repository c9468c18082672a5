"""Holds kvcalc's GGUF tensor lists and types against llama.cpp's own library; writes quantised.txt.

    KVCALC_LLAMA=FOLDER python -m tests.gguf.sweep            the library's answers, and what differs
    python -m tests.gguf.sweep --replay                       kvcalc against the committed table

FOLDER holds the shared objects of npm's @node-llama-cpp/linux-x64 3.22.1 (package/bins/linux-x64),
llama.cpp release v0.5.0. For every shipped model with an architecture the library loads a header of
true size (every tensor there, with its shape) and dry-runs its quantise for every type: the type of
each tensor and the printed total must be kvcalc's. The same for types that no shipped model has
(types.jsonl) and for models of odd widths.
"""

import argparse
import json
import random
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any

from kvcalc.convert.hf import spec_from_config
from kvcalc.errors import UnsupportedError, UsageError
from kvcalc.file_types import FILE_TYPES, Recipe
from kvcalc.frozen import frozen
from kvcalc.gguf.model import gguf_model, gguf_model_with_mtp
from kvcalc.gguf.quantise import tensor_bytes, tensor_types
from kvcalc.gguf.tensors import GgufModel
from kvcalc.spec.catalog import load, shipped
from kvcalc.spec.model import ModelSpec
from tests.gguf.headers import NUMBERS, keys_of, write
from tests.gguf.library import Library

# Configs of types that no shipped model has: transformers' defaults, without what changes nothing.
TYPES = Path(__file__).with_name("types.jsonl")
TABLE = Path(__file__).with_name("quantised.txt")
RELEASE = "llama.cpp v0.5.0 (@node-llama-cpp/linux-x64 3.22.1), dry runs of 2026-11-29"
# Files that an importance matrix changes; those that need one are made with it only.
CHANGED = ("IQ3_XXS", "IQ4_NL", "IQ4_XS", "Q4_0", "Q5_0")
# Widths that 256, 64 or 32 do not divide, and dimensions that choose other branches of the rule.
ODD = 60


def recipes() -> Iterator[tuple[str, Recipe]]:
    """Every way of quantising that the sweep asks for, with its name in the table."""
    for name, file_type in FILE_TYPES.items():
        yield name, Recipe(file_type=file_type)
        if name in CHANGED:
            yield f"{name}+imatrix", Recipe(file_type=file_type, imatrix=True)
    for name in ("Q4_K_M", "IQ4_XS", "Q2_K"):
        yield f"{name}+pure", Recipe(file_type=FILE_TYPES[name], pure=True)
    yield (
        "Q4_K_M+tables",
        Recipe(file_type=FILE_TYPES["Q4_K_M"], output="q8_0", token_embedding="f16"),
    )


def spec_of(name: str) -> ModelSpec:
    """A shipped model (NAME+mtp is one, too), a type's config (type-NAME) or an odd one (odd-N)."""
    if name.startswith("odd-"):
        return odd(int(name.removeprefix("odd-")))
    return typed()[name] if name.startswith("type-") else load(name.removesuffix("+mtp"))


def model_of(name: str) -> GgufModel:
    """The file of a row; of NAME+mtp with its extra layers."""
    spec = spec_of(name)
    return gguf_model_with_mtp(spec) if name.endswith("+mtp") else gguf_model(spec)


@cache
def typed() -> dict[str, ModelSpec]:
    """Specs of types.jsonl's configs, as the table names them."""
    found = map(json.loads, TYPES.read_text("utf-8").splitlines())
    return {
        f"type-{each['type']}": spec_from_config(each["config"], each["type"], "config.json").spec
        for each in found
    }


def odd(seed: int) -> ModelSpec:
    """A shipped spec with other widths."""
    rng = random.Random(seed)
    names = ["llama-3.1-8b", "llama-2-70b", "mixtral-8x7b", "qwen3-0.6b", "falcon-40b", "gemma-2-2b",
             "phi-3-mini-4k", "qwen2-57b-a14b", "deepseek-v2-lite", "gpt-oss-20b", "starcoder2-3b",
             "granite-4.0-h-tiny", "qwen3.5-9b", "t5-small", "command-r7b"]  # fmt: skip
    spec = load(names[seed % len(names)])
    unit = rng.choice((8, 16, 32, 64, 96, 128, 256))
    blocks = {}
    for name, block in spec.blocks.items():
        ffn: Any = block.ffn
        field = (
            "moe_intermediate_size"
            if hasattr(ffn, "moe_intermediate_size")
            else "intermediate_size"
        )
        changed = replace(ffn, **{field: rng.randint(1, 40) * unit}) if ffn is not None else None
        blocks[name] = replace(block, ffn=changed)
    return replace(spec, hidden_size=rng.randint(1, 40) * unit, blocks=blocks)


def names() -> Iterator[str]:
    """What the table holds: every model with an architecture, and the odd ones."""
    for name in shipped():
        spec = load(name)
        try:
            gguf_model(spec)
        except UnsupportedError:
            continue
        yield name
        if gguf_model_with_mtp(spec) != gguf_model(spec):
            yield f"{name}+mtp"
    yield from typed()
    for seed in range(ODD):
        yield f"odd-{seed}"


def computed(model: GgufModel, recipe: Recipe) -> str | None:
    """Total in MiB, bits per weight and a digest of the types, as the table has them."""
    try:
        types = _types(model, recipe)
        total = sum(map(tensor_bytes, model.tensors, types))
    except UnsupportedError:
        return None
    elements = sum(tensor.numel for tensor in model.tensors)
    named = {tensor.name: kind for tensor, kind in zip(model.tensors, types, strict=True)}
    return f"{total / 1048576:.2f} {total * 8 / elements:.2f} {digest(named)}"


def _types(model: GgufModel, recipe: Recipe) -> tuple[str, ...]:
    try:
        return tensor_types(model, recipe)
    except UsageError:  # it needs an importance matrix
        return tensor_types(model, replace(recipe, imatrix=True))


def digest(types: dict[str, str]) -> str:
    """Of every tensor's type."""
    text = "".join(f"{name} {types[name]}\n" for name in sorted(types))
    return sha256(text.encode()).hexdigest()[:8]


@frozen
class Answers:
    """What the library said of a model: recipe -> total in MiB, bits per weight, digest of types;
    None where it refused."""

    model: str
    tensors: int
    types: dict[str, str | None]

    def line(self) -> str:
        """The model, its tensors and the answers in the order of ``recipes``, without spaces."""
        said = ((answer or "-").replace(" ", ",") for answer in self.types.values())
        return " ".join((self.model, str(self.tensors), *said))


def rows() -> list[Answers]:
    """The committed table without its heading."""
    kinds = [name for name, _ in recipes()]
    found = []
    for line in TABLE.read_text("utf-8").splitlines()[1:]:
        model, tensors, *said = line.split(" ")
        answers = [None if each == "-" else each.replace(",", " ") for each in said]
        found.append(Answers(model, int(tensors), dict(zip(kinds, answers, strict=True))))
    return found


def differences(row: Answers, wanted: set[str] | None = None) -> list[str]:
    """Where kvcalc is not what the library said. wanted: recipes to look at; all by default."""
    model, found = model_of(row.model), []
    for name, recipe in recipes():
        if wanted is not None and name not in wanted:
            continue
        if computed(model, recipe) != row.types[name]:
            found.append(f"{row.model} {name}: {computed(model, recipe)}, not {row.types[name]}")
    return found


def _asked(library: Library, path: Path, model: GgufModel, recipe: Recipe) -> str | None:
    """The library's answer. A table's type that its rows do not fit would abort the process."""
    needs = False
    try:
        tensor_types(model, recipe)
    except UsageError:
        needs = True
    except UnsupportedError:
        pass
    if recipe.output and computed(model, recipe) is None:
        return None
    output = NUMBERS[recipe.output] if recipe.output else None
    embedding = NUMBERS[recipe.token_embedding] if recipe.token_embedding else None
    try:
        types, total = library.quantise(
            path, recipe.file_type.number, imatrix=recipe.imatrix or needs, pure=recipe.pure,
            output=output, embedding=embedding,
        )  # fmt: skip
    except RuntimeError:
        return None
    return f"{total} {digest(types)}"


def main() -> int:
    """Ask the library and write the table, or replay it. Returns 1 where something differs."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--replay", action="store_true")
    parser.add_argument("--only", default="", help="models whose names begin so: their rows alone")
    arguments = parser.parse_args()
    if arguments.replay:
        wrong = [line for row in rows() for line in differences(row)]
        print("\n".join(wrong) or f"{len(rows())} models agree")
        return bool(wrong)
    library, wrong = Library(), []
    lines = {row.model: row.line() for row in rows()} if arguments.only else {}
    with tempfile.TemporaryDirectory() as folder:
        for name in names():
            if not name.startswith(arguments.only):
                continue
            model = model_of(name)
            path = write(Path(folder) / "model.gguf", model, keys_of(spec_of(name), model))
            loads = library.load(path, mtp=True) if not name.startswith("odd-") else ""
            if loads:
                wrong.append(f"{name} does not load: {loads}")
            types = {}
            for kind, recipe in recipes():
                types[kind] = _asked(library, path, model, recipe)
                if types[kind] != computed(model, recipe):
                    wrong.append(f"{name} {kind}: {computed(model, recipe)}, not {types[kind]}")
            lines[name] = Answers(name, len(model.tensors), types).line()
    TABLE.write_text("\n".join([RELEASE, *lines.values()]) + "\n", "utf-8")
    print("\n".join(wrong) or f"{len(lines)} models agree")
    return bool(wrong)


if __name__ == "__main__":
    sys.exit(main())
