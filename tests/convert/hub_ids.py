"""Ids whose config was read, and the shipped specs of their shapes: ``python -m tests.convert.hub_ids``.

hub_configs.jsonl has the configs, without keys that change nothing, with the ids that each was read for
and where. Every one is imported, and the spec whose layers, heads and widths are the same is its shape;
what else differs is written beside it in kvcalc/spec/hub_ids.tsv. One that has no shipped shape is listed
on standard error and left out.

hub_facts.tsv has, of more ids, the numbers of their configs and the parameters that their safetensors
hold, as llmfit 1.1.17 (PyPI) read them from the hub for its list of models (its binary holds it as JSON).
Such an id has the shape of a spec whose parameters, with that vocabulary, are exactly as many, but for
parts that have a name (tests/convert/published.py); nothing is told by it that leaves the total as it is:
formats are no shape here, nor a spec that has a twin with a window; towers and windows are, where every
model of the type has them. Taken over were those of 500 downloads and more whose context is one that a
config of the shape was read with, or shorter, or that their name or card says (llmfit writes 4,096 where it
found none, and multiplies a context by its rope_scaling's factor: those of Gemma 3, Llama 3.1 and 3.2 are
without it here).
"""

import json
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from kvcalc.convert.hf import spec_from_config
from kvcalc.errors import SpecError, UnsupportedError
from kvcalc.names import parts
from kvcalc.spec import catalog, hub_ids, index
from kvcalc.spec.hub_ids import HubId
from kvcalc.spec.layers import decoder_layers
from kvcalc.spec.model import ModelSpec
from tests.convert.published import HEAD, MTP, explain

CONFIGS = Path(__file__).with_name("hub_configs.jsonl")
FACTS = Path(__file__).with_name("hub_facts.tsv")
LLMFIT = "llmfit 1.1.17 (PyPI), its numbers and the parameters of its files"
# Types whose towers and windows are every model's of that type, so that what is trained further has them.
WHOLE = (
    "gemma2", "gemma3", "gemma3_text", "gemma3n_text", "gemma4", "gemma4_unified", "glm4v", "internvl",
    "kimi_k25", "mllama", "olmo3", "qwen2_vl", "qwen2_5_vl", "qwen3_vl", "qwen3_vl_moe", "qwen3_5",
    "qwen3_5_moe",
)  # fmt: skip
STATED = (*hub_ids.FORMATS, "mtp")
# Names of repositories whose files are in few bits.
QUANTISED = re.compile(
    r"-(fp[48]|nvfp4|mxfp[48]|int[48]|w[48]a|awq|gptq|bnb|mlx|gguf|\dbit|\d-bit)", re.I
)
_NOT_SHAPE = {
    *hub_ids.OWN, "name", "source", "hub_id", "released", "model_type", "notes", "left_out", "blocks",
    "layers", "checkpoint", "expect", "budgets",
}  # fmt: skip


def configs() -> list[dict[str, Any]]:
    """Each config with its ids and its source."""
    return [json.loads(line) for line in CONFIGS.read_text("utf-8").splitlines()]


def shape(spec: ModelSpec) -> str:
    """What two models of the same shape have in common, as a text to compare.

    Layers are compared as they are laid out; how blocks are named and grouped is no part of it.
    """
    layers = tuple(decoder_layers(spec))
    names = dict.fromkeys(layer.block for layer in layers)
    order = {name: place for place, name in enumerate(names)}
    laid = [(order[layer.block], layer.weights, layer.recursion) for layer in layers]
    rest = {f.name: getattr(spec, f.name) for f in fields(spec) if f.name not in _NOT_SHAPE}
    # Where the norms stand changes no tensor, and a config need not say.
    blocks = [replace(spec.blocks[name], norm_position=None) for name in order]
    return repr((sorted(rest.items()), laid, blocks))


def own(model: ModelSpec, base: ModelSpec) -> dict[str, Any]:
    """The fields that a model of the same shape has of its own."""
    pairs = [(name, getattr(model, name), getattr(base, name)) for name in hub_ids.OWN]
    return {name: mine for name, mine, other in pairs if mine != other}


def alike(one: str, other: str) -> int:
    """How many words two names begin with together."""
    pairs = enumerate(zip(parts(one), parts(other), strict=False))
    return next(
        (place for place, (a, b) in pairs if a != b), min(len(parts(one)), len(parts(other)))
    )


def towers(spec: ModelSpec) -> bool:
    """Whether it has towers that it does not count."""
    return any("tower" in each for each in spec.left_out)


def with_mtp_of(base: ModelSpec, model: ModelSpec) -> ModelSpec:
    """The model with its modules' block named as the spec of its shape names it."""
    if model.mtp is None:
        return model
    block = model.blocks[model.mtp.block]
    same = [name for name, other in base.blocks.items() if other == block]
    return replace(model, mtp=replace(model.mtp, block=same[0] if same else "?"))


class Shapes:
    """The shipped specs by their shape."""

    def __init__(self) -> None:
        self.specs = {name: catalog.load(path) for name, path in catalog.shipped().items()}
        self.by_shape: dict[str, list[str]] = {}
        for name, spec in self.specs.items():
            self.by_shape.setdefault(shape(spec), []).append(name)
        self.by_width: dict[tuple[str, int], list[str]] = {}
        for name, spec in self.specs.items():
            self.by_width.setdefault((_family(spec.model_type), spec.hidden_size), []).append(name)
        self.named = {each: name for name, spec in self.specs.items() for each in spec.hub_id}

    def entry(self, hub_id: str, source: str, config: dict[str, Any]) -> HubId | None:
        """The line of an id; None where no shipped spec has its shape.

        Of several specs of one shape it is the one that names the id, else the one whose name
        begins most like the id's, else the one from which the least differs. Parts that the spec does not
        count (a vision tower) are no part of its shape.
        """
        model = spec_from_config(config, "read", source).spec
        found = self.by_shape.get(shape(model), [])
        named = self.specs.get(self.named.get(hub_id, ""))
        if not found and named is not None and not model.towers:
            # A copy of a config that leaves out what describes the towers.
            bare = shape(replace(named, towers={}))
            found, source = [named.name] * (shape(model) == bare), f"{source} (without its towers)"
            model = replace(model, left_out=())
        if not found:
            return None

        def far(name: str) -> tuple[bool, int, int, str]:
            like = alike(name, hub_id.split("/")[1])
            return self.named.get(hub_id) != name, -like, len(own(model, self.specs[name])), name

        best = min(found, key=far)
        base = self.specs[best]
        if towers(model) and not towers(base):
            return None
        differs = own(with_mtp_of(base, model), base)
        if self.named.get(hub_id) == best:
            # What the spec itself states of the formats of its files, of its modules, or of a context
            # that the config leaves to its class, stands.
            stated = (
                *STATED,
                *(("max_position_embeddings",) * (model.max_position_embeddings is None)),
            )
            differs = {key: held for key, held in differs.items() if key not in stated}
        elif differs.get("mtp") and differs["mtp"].block not in base.blocks:
            return None
        return HubId(hub_id, best, index.to_text(differs) if differs else "", source)


@dataclass(frozen=True)
class Facts:
    """One line of hub_facts.tsv."""

    id: str
    model_type: str
    layers: int | None
    hidden_size: int | None
    heads: int | None
    kv_heads: int | None
    head_dim: int | None
    intermediate_size: int | None
    vocab_size: int | None
    context: int
    parameters: int
    task: str


def facts() -> list[Facts]:
    """Every id with the numbers of its config and its files."""
    rows = [line.split("\t") for line in FACTS.read_text("utf-8").splitlines()[1:]]
    return [
        Facts(row[0], row[1], *(int(text) if text else None for text in row[2:9]),
              *map(int, row[9:11]), row[11])
        for row in rows
    ]  # fmt: skip


def by_facts(shapes: Shapes, row: Facts) -> HubId | None:
    """The line of an id of which numbers are known; None where they are no shipped spec's."""
    found = []
    if row.hidden_size is None or row.vocab_size is None:
        return None
    for name in shapes.by_width.get((_family(row.model_type), row.hidden_size), ()):
        spec = shapes.specs[name]
        if towers(spec) or spec.own_dtype == "checkpoint" or not _heads(spec, row):
            continue
        model = replace(spec, vocab_size=row.vocab_size, max_position_embeddings=row.context)
        if row.task == "embedding" and spec.tie_word_embeddings is False:
            model = replace(model, head="none", tie_word_embeddings=None)
        parts = explain(model, row.parameters)
        # A head that is stored once more may be one of its own, but for Gemma's.
        if parts is None or (HEAD in parts and not row.model_type.startswith("gemma")):
            continue
        if model.mtp is not None and MTP not in parts:
            model = replace(model, mtp=None)
        found.append((name, model))
    windowed = [name for name, _ in found if _windowed(shapes.specs[name])]
    plain = [pair for pair in found if pair[0] not in windowed]
    if plain:
        # A window leaves the total as it is: which of the two it is, is not told.
        contexts = {shapes.specs[name].max_position_embeddings for name in windowed}
        found = [] if row.context in contexts else plain

    def far(pair: tuple[str, ModelSpec]) -> tuple[int, int, str]:
        name, model = pair
        return -alike(name, row.id.split("/")[1]), len(own(model, shapes.specs[name])), name

    if not found:
        return None
    name, model = min(found, key=far)
    base = shapes.specs[name]
    whole = bool(base.towers) or _windowed(base)
    if whole and (base.model_type not in WHOLE or base.max_position_embeddings != row.context):
        return None
    differs = own(model, base)
    return HubId(row.id, name, index.to_text(differs) if differs else "", LLMFIT)


def _family(model_type: str | None) -> str:
    """A type and that of its language model are one family's."""
    return (model_type or "").removesuffix("_text")


def _windowed(spec: ModelSpec) -> bool:
    return any(block.sliding_window for block in spec.blocks.values())


def _heads(spec: ModelSpec, row: Facts) -> bool:
    """Whether layers and heads are as many. A latent attention's own heads are no config's KV heads; where
    layers of two kinds alternate, a config's numbers are one kind's (Gemma 4)."""
    mixers = [block.attention for block in spec.blocks.values() if block.attention is not None]
    same = [
        getattr(mixer, "num_attention_heads", row.heads) == row.heads
        and getattr(mixer, "num_key_value_heads", row.kv_heads) in (row.kv_heads, None)
        and (row.head_dim is None or getattr(mixer, "head_dim", row.head_dim) == row.head_dim)
        for mixer in mixers
    ]
    alternate = spec.model_type in WHOLE and _windowed(spec)
    return len(tuple(decoder_layers(spec))) == row.layers and (any if alternate else all)(same)


def parameters_are(model: ModelSpec, row: Facts) -> bool:
    """Whether the files hold as many, but for parts that have a name (tests/convert/published.py)."""
    return explain(model, row.parameters) is not None


def written() -> tuple[list[HubId], list[str]]:
    """The entries, and the ids that have no shipped shape."""
    shapes = Shapes()
    found = {name: HubId(name, spec) for name, spec in shapes.named.items()}
    without = []
    for row in configs():
        for hub_id in row["ids"]:
            try:
                entry = shapes.entry(hub_id, row["source"], row["config"])
            except (SpecError, UnsupportedError) as error:
                without.append(f"{hub_id} ({error})")
                continue
            if entry is None:
                without.append(f"{hub_id} (no shipped spec of its shape)")
            else:
                found[hub_id] = entry
    for numbers in facts():
        known = found.get(numbers.id)
        if known is not None and (known.source or shapes.specs[known.spec].hub_id[0] == known.id):
            continue
        entry = by_facts(shapes, numbers)
        if entry is None and known is None:
            without.append(f"{numbers.id} (no shipped spec has its numbers)")
        elif entry is not None:
            found[numbers.id] = entry
    for numbers in facts():
        known = found.get(numbers.id)
        if known is not None and parameters_are(known.of(shapes.specs[known.spec]), numbers):
            found[numbers.id] = replace(known, files=str(numbers.parameters))
    for hub_id, entry in [*found.items()]:
        if QUANTISED.search(hub_id) and entry.of(shapes.specs[entry.spec]).own_dtype == "bf16":
            without.append(
                f"{hub_id} (its name says that its files are quantised, and nothing how)"
            )
            del found[hub_id]
    return sorted(found.values(), key=lambda entry: entry.id.lower()), without


def text(entries: list[HubId]) -> str:
    """The file."""
    return "".join(f"{entry.line()}\n" for entry in entries)


def _main() -> Iterator[str]:
    entries, without = written()
    Path(hub_ids.FILE).write_text(text(entries), encoding="utf-8")
    yield f"{len(entries)} ids, {sum(bool(entry.source) for entry in entries)} with a config"
    yield from (f"left out: {each}" for each in without)


if __name__ == "__main__":
    for line in _main():
        print(line, file=sys.stderr)
