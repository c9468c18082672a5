"""``kvcalc verify --against transformers``: hold a spec to the model that transformers builds of it.

The twin is built from a config object at true size on the meta device, where tensors have shapes
and no storage, and run: a prefill that crosses every window and block, then two decode steps. The
comparisons, each with its own pass or fail:

* parameters: the twin's total and, layer by layer, its tensors, against the spec's inventory;
* published: the twin's total against ``expect.parameters``, the only figure here that comes from
  outside both, so that a wrong head count in a spec cannot agree with itself;
* layers: the order of layers, where a config lists it, against the one its checkpoint publishes;
* cache: every tensor that the twin's cache holds, layer by layer, name, shape and dtype, against
  ``--engine transformers``, after the prefill and after the decode steps.

Weights are matched layer by layer (matching.py). What is left over on either side fails by name.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from math import prod
from typing import Any

from kvcalc.dtypes import CacheDtypes
from kvcalc.engines.transformers.caches import accounting
from kvcalc.errors import MissingExtraError, UnsupportedError
from kvcalc.memory.inventory import parameter_groups
from kvcalc.memory.weights import summarise
from kvcalc.spec.layers import decoder_layers
from kvcalc.spec.model import ModelSpec
from kvcalc.tensors import LastBlock, PerBlock, Tail, Window
from kvcalc.verify.twins.built import Built
from kvcalc.verify.twins.matching import Named, Shape, match_tensors
from kvcalc.verify.twins.published_layers import PUBLISHED, order_of
from kvcalc.verify.twins.stack import NotExpressibleError
from kvcalc.verify.twins.twin import Twin, twin_of

DECODE_STEPS = 2


@dataclass(frozen=True)
class Row:
    """One comparison. formula, measured: what kvcalc says and what the twin has."""

    proof: str
    what: str
    formula: str
    measured: str
    passed: bool


@dataclass
class Report:
    """What came of one spec.

    status: passed, failed, or no_twin with the reason. rows: every comparison that failed and a
    summary of each proof. difference: why the twin is held to another model than the spec's, and
    which. unconfirmed: what nothing outside the spec says.
    """

    model: str
    model_type: str
    status: str = "passed"
    reason: str = ""
    versions: str = ""
    class_name: str = ""
    tokens: int = 0
    parameters: int = 0
    cache_bytes: int = 0
    rows: list[Row] = field(default_factory=list)
    difference: str = ""
    unconfirmed: tuple[str, ...] = ()

    @property
    def failures(self) -> list[Row]:
        return [row for row in self.rows if not row.passed]

    @property
    def passed(self) -> bool:
        return self.status == "passed"

    def finished(self) -> "Report":
        self.status = "failed" if self.failures else "passed"
        return self

    def add(self, proof: str, what: str, formula: Any, measured: Any) -> None:
        shown = str(formula), str(measured)
        self.rows.append(Row(proof, what, *shown, passed=shown[0] == shown[1]))


def verify_against_transformers(spec: ModelSpec, *, tokens: int | None = None) -> Report:
    """Build the twin of a spec, run it, and compare parameters and cache.

    tokens: length of the prefill; enough to cross every window and block when None.

    Raises MissingExtraError without torch and transformers. A spec without a twin is a report with
    status ``no_twin`` and the reason; a twin that differs is ``failed`` with the tensors' names.

    >>> verify_against_transformers(load("llama-3-8b")).passed
    True
    """
    try:
        import torch
        import transformers
    except ImportError:
        raise MissingExtraError(
            "verify --against transformers needs torch and transformers: pip install 'kvcalc[hf]'"
        ) from None
    report = Report(spec.name, spec.model_type or "")
    report.versions = f"transformers {transformers.__version__}, torch {torch.__version__}"
    try:
        twin = twin_of(spec)
        accounting(spec, CacheDtypes(), transformers.__version__)
    except NotExpressibleError as error:
        report.add("twin", f"a {spec.model_type} config can say this", "yes", error.message)
        return report.finished()
    except UnsupportedError as error:
        report.status, report.reason = "no_twin", error.message
        return report
    report.difference, report.unconfirmed = twin.difference, twin.unconfirmed
    if spec.expect is None or spec.expect.parameters is None:
        report.unconfirmed += ("parameters: the spec expects no published total",)
    if spec.name in PUBLISHED:
        report.add("layers", "order that the checkpoint publishes", order_of(spec),
                   PUBLISHED[spec.name])  # fmt: skip
    doing = "builds it"
    try:
        built = Built(twin)
        report.class_name = type(built.model).__name__
        _compare_parameters(report, spec, built)
        doing = "runs it"
        _compare_cache(report, spec, built, tokens or _prefill_tokens(spec))
    except Exception as error:
        # transformers refuses configs in ways of its own: whatever it says is the finding.
        message = " ".join(f"{type(error).__name__}: {error}".split())
        report.add("twin", f"transformers {doing}", "yes", message)
    return report.finished()


# ---------------------------------------------------------------- the cache


def _prefill_tokens(spec: ModelSpec) -> int:
    """Enough to cross every window, chunk and block, and few enough for a scan in Python."""
    sizes = [8]
    for group in accounting(spec, CacheDtypes()).groups:
        for tensor in group.tensors:
            match tensor.extent:
                case Window(size) | Tail(size) | LastBlock(size):
                    sizes.append(size + 2)
                case PerBlock(size, _):
                    sizes.append(size + 2)
                case _:
                    pass
    return max(sizes)


def _expected(
    spec: ModelSpec, version: str, tokens: int, encoder_tokens: int
) -> dict[int, dict[str, str]]:
    """What ``--engine transformers`` says each layer holds: name -> shape and dtype."""
    dtypes = CacheDtypes()
    places = _places(spec)
    found: dict[int, dict[str, str]] = {}
    for group in accounting(spec, dtypes, version).groups:
        for index in group.layers:
            for tensor in group.tensors:
                shape = tensor.full_shape(1, tensor.extent.positions(tokens, encoder_tokens))
                if prod(shape):
                    name = dtypes.format(tensor.role, tensor.dtype).name
                    found.setdefault(places[index], {})[tensor.name] = f"{list(shape)} {name}"
    return found


def _places(spec: ModelSpec) -> list[int]:
    """The transformers layer in which each of the spec's layers stands."""
    if spec.model_type != "zamba2":
        return list(range(len(decoder_layers(spec))))
    # A use of a shared block is part of the Mamba layer that follows it.
    places, place = [], 0
    for layer in decoder_layers(spec):
        places.append(place)
        place += not spec.blocks[layer.block].share_weights
    return places


_DTYPES = {"torch.bfloat16": "bf16", "torch.float32": "fp32", "torch.float16": "fp16"}


def _compare_cache(report: Report, spec: ModelSpec, built: Built, tokens: int) -> None:
    import transformers

    version = transformers.__version__
    encoder_tokens = 0
    if spec.encoder is not None:
        encoder_tokens = spec.encoder.tokens or 7
    report.tokens = tokens
    if built.twin.kind == "base":
        held = built.run(None, tokens, 0)
        report.add("cache", "what an encoder keeps", "nothing", held or "nothing")
        return
    cache, seen = built.new_cache(), 0
    for step in (tokens, *[1] * DECODE_STEPS):
        cache = built.run(cache, step, encoder_tokens)
        seen += step
        if seen in (tokens, tokens + DECODE_STEPS):
            expected = _expected(spec, version, seen, encoder_tokens)
            report.cache_bytes = _compare_held(report, built, cache, seen, expected)


def _compare_held(
    report: Report, built: Built, cache: Any, seen: int, expected: dict[int, dict[str, str]]
) -> int:
    measured: dict[int, dict[str, str]] = {}
    total = 0
    for layer, name, tensor in built.hold(cache):
        dtype = _DTYPES.get(str(tensor.dtype), str(tensor.dtype))
        measured.setdefault(layer, {})[name] = f"{list(tensor.shape)} {dtype}"
        total += tensor.numel() * tensor.element_size()
    same = 0
    for layer in sorted({*expected, *measured}):
        ours, theirs = expected.get(layer, {}), measured.get(layer, {})
        for name in sorted({*ours, *theirs}):
            formula, found = ours.get(name, "nothing"), theirs.get(name, "nothing")
            if formula == found:
                same += 1
            else:
                report.add("cache", f"layer {layer} {name}, {seen} tokens", formula, found)
    count = sum(len(names) for names in expected.values())
    report.add("cache", f"tensors that agree, {seen} tokens", count, same)
    return total


# ---------------------------------------------------------------- the parameters


def _compare_parameters(report: Report, spec: ModelSpec, built: Built) -> None:
    theirs: dict[str, list[Named]] = {}
    total = 0
    for name, parameter in built.model.named_parameters():
        shape = _as_counted(name, tuple(parameter.shape), built.twin)
        total += prod(shape)
        place = _place_of(name, built.twin.kind == "base")
        theirs.setdefault(place, []).append((name, shape))
    report.parameters = total
    counted = summarise(built.twin.spec).language_model
    report.add("parameters", "total", counted, total)
    expected = None
    if spec.expect is not None:
        expected = spec.expect.language_model if spec.towers else spec.expect.parameters
    if expected is not None:
        # Less what transformers is known not to build.
        published = expected - (summarise(spec).language_model - counted)
        report.add("published", "total that the spec expects", published, total)
    ours: dict[str, list[Named]] = {}
    for place, name, shape in _inventory(built.twin.spec):
        ours.setdefault(place, []).append((name, shape))
    if spec.model_type == "zamba2":
        # The shared blocks and their adapters stand in the first layer that uses them.
        ours, theirs = _pool(ours), _pool(theirs)
    different = 0
    equal: set[tuple[tuple[Shape, ...], ...]] = set()
    for place in sorted({*ours, *theirs}, key=_order):
        pair = ours.get(place, []), theirs.get(place, [])
        shapes = tuple(tuple(shape for _, shape in side) for side in pair)
        if shapes in equal:
            continue
        left, right = match_tensors(*pair)
        if not left and not right:
            equal.add(shapes)
        else:
            different += 1
            report.add("parameters", f"tensors of {place}", _listed(left), _listed(right))
    report.add("parameters", "layers whose tensors differ", 0, different)


def _as_counted(name: str, shape: Shape, twin: Twin) -> Shape:
    """A parameter's shape where the twin lays it out in a way of its own."""
    if twin.model_type == "dbrx" and ".experts.mlp." in name:
        experts = twin.values["ffn_config"]["moe_num_experts"]
        return (experts, shape[0] // experts, *shape[1:])
    if twin.model_type == "longcat_flash" and name.endswith("experts.gate_up_proj"):
        return (shape[0] - twin.values["zero_expert_num"], *shape[1:])
    return shape


_LAYER = re.compile(r"(?:^|\.)(?:layers|h|blocks|block|layer|albert_layers)\.(\d+)\.")
# Weights of the whole model that transformers keeps in its first layer.
_FIRST = re.compile(r"relative_attention_bias|\.pre_ln\.")


def _place_of(name: str, only_encoder: bool) -> str:
    encoder = only_encoder or (".encoder." in f".{name}" and "decoder" not in name)
    stack = "encoder" if encoder else "decoder"
    found = None if _FIRST.search(name) else _LAYER.search(name)
    return f"{stack} layer {found[1]}" if found else "the whole model"


def _inventory(spec: ModelSpec) -> Iterator[tuple[str, str, Shape]]:
    """(place, name, shape) of every weight of the spec, buffers not."""
    only_encoder = spec.head == "none" and spec.encoder is None
    for group in parameter_groups(spec):
        encoder = group.prefix.startswith("encoder") or only_encoder
        # LongCat-Flash's layers are two of the spec's: two attentions each.
        step = 2 if spec.model_type == "longcat_flash" else 1
        places = [f"{'encoder' if encoder else 'decoder'} layer {i // step}" for i in group.layers]
        for tensor in group.tensors:
            if not tensor.buffer:
                for place in places or ["the whole model"]:
                    yield place, tensor.name, tensor.shape


def _pool(tensors: dict[str, list[Named]]) -> dict[str, list[Named]]:
    return {"the whole model": [tensor for found in tensors.values() for tensor in found]}


def _order(place: str) -> tuple[str, int]:
    words = place.split()
    return (words[0], int(words[-1]) if words[-1].isdigit() else -1)


def _listed(tensors: list[Named]) -> str:
    return ", ".join(f"{name} {list(shape)}" for name, shape in tensors) or "nothing"
