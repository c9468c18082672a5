"""The options of a question, and the question without each: what is asked again to hear what each changes.

What every question has is not among them: the model, its machine, the engine and its release, how many
requests of how many tokens, the format of the weights. Questions are those of
``kvcalc.deployment.question`` and ``allocation``, which stand above.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from kvcalc.deployment.needless import about, as_said
from kvcalc.file_types import without_options
from kvcalc.frozen import changed, fields_of
from kvcalc.memory.inventory import groups_of
from kvcalc.spec.model import ModelSpec
from kvcalc.tensors import Once

_QUANTIZE = "how llama.cpp's quantize mixes types"
_MIX: dict[str, str] = {
    "--imatrix": _QUANTIZE,
    "--pure": _QUANTIZE,
    "--output-tensor-type": "the output table",
    "--token-embedding-type": "the token table",
}
# Option -> what it is about, and the fields that it sets.
_FIT: dict[str, tuple[str, tuple[str, ...]]] = {
    "--encoder-context": ("an encoder's tokens", ("asked.encoder_tokens",)),
    "--beams": ("beams, each with a cache", ("asked.beams",)),
    "--state-dtype": ("number format of recurrent states", ("asked.state_dtype",)),
    "--kv-dtype": ("number format of keys and values", ("kv_dtype",)),
    "--images": ("images of a request", ("asked.put.images",)),
    "--audio": ("sound of a request", ("asked.put.audio",)),
    "--video": ("video of a request", ("asked.put.video",)),
    "--dp": ("replicas", ("asked.layout.data",)),
    "--expert-parallel": ("experts among ranks", ("asked.layout.expert",)),
    "--draft": ("what drafts", ("drafting.draft",)),
    "--mtp-layers": ("layers that draft", ("drafting.mtp_layers",)),
    "--speculative-tokens": ("draft tokens per step", ("drafting.speculative_tokens",)),
    "--lora-modules": ("layers that adapters change", ("lora.modules",)),
    "--fully-sharded-loras": ("how ranks divide adapters", ("lora.sharded",)),
    "--memory-utilization": ("the engine's share of the memory", ("utilization",)),
    "--max-num-batched-tokens": ("tokens of a step", ("max_num_batched_tokens",)),
    "--max-num-seqs": ("requests of a step", ("max_num_seqs",)),
    "--enforce-eager": ("CUDA graphs", ("eager",)),
    "--language-model-only": ("towers of media", ("media.language_only",)),
    "--limit-mm-per-prompt": ("media of a request", ("media.limits", "media.text")),
    "--mm-encoder-tp-mode": ("towers on tensor ranks", ("media.towers_whole",)),
    "--mm-processor-kwargs": ("bounds on an image", ("media.processor", "media.processor_text")),
    "--reserve": ("memory that something else holds", ("where.reserve",)),
}  # fmt: skip
# The same names stand for the same fields of a question of ``estimate``, which has these beside.
_OF_ESTIMATES = ("--encoder-context", "--beams", "--state-dtype", "--kv-dtype", "--images", "--audio",
                 "--video", "--draft", "--mtp-layers", "--speculative-tokens", "--lora-modules",
                 "--fully-sharded-loras")  # fmt: skip
_ESTIMATE = {name: _FIT[name] for name in _OF_ESTIMATES} | {
    "--tp": ("ranks that divide heads", ("asked.layout.tensor",)),
    "--pp": ("stages", ("asked.layout.pipeline",)),
    "--set": ("fields of the model", ("set_fields",)),
    "--only": ("parts beside the language model", ("only",)),
    "--gpu": ("kernels that decide formats and padding", ("gpus",)),
}
_TIERS = {
    "--block-size": ("tokens of a block", ("block_tokens",)),
    "--chunk": ("tokens of what is moved at once", ("chunk_tokens",)),
    "--tp": _ESTIMATE["--tp"],
    "--pp": _ESTIMATE["--pp"],
    "--kv-dtype": _FIT["--kv-dtype"],
    "--state-dtype": _FIT["--state-dtype"],
}
_TABLE = {
    "--draft": ("what drafts", ("draft",)),
    "--reserve": ("memory that something else holds", ("where.reserve",)),
}

# Flags that say how large the pool, or its longest request, is to be.
SIZES = ("max_model_len", "ctx_size", "tokens")
Less = tuple[str, str, Any]


def said_of_fit(question: Any, engine: str, spec: ModelSpec | None) -> Iterator[Less]:
    """(an option that was given, what it is about, the question without it). engine: its name. spec: of
    the only model."""
    yield from _said(question, engine, _FIT, "asked.dtype")
    if spec is not None:
        options = {option: (what, (path,)) for option, what, path in _sizes_of_nothing(spec)}
        yield from _without(question, options)


def _sizes_of_nothing(spec: ModelSpec) -> Iterator[tuple[str, str, str]]:
    """(option, what it is about, its field) of sizes that a model keeps nothing of."""
    extents = [tensor.extent for group in groups_of(spec) for tensor in group.tensors]
    if not extents:
        yield "--batch", "nothing is kept between steps", "asked.batch_size"
    if all(isinstance(each, Once) for each in extents):
        yield "--context", "no layer keeps more for more tokens", "asked.context_tokens"


def said_of_estimate(question: Any) -> Iterator[Less]:
    """The same of ``kvcalc estimate``."""
    yield from _said(question, question.engine, _ESTIMATE, "asked.dtype")


def said_of_tiers(question: Any) -> Iterator[Less]:
    """The same of ``kvcalc tiers``."""
    yield from _without(question, _TIERS)


def said_of_table(question: Any, spec: ModelSpec) -> Iterator[Less]:
    """The same of ``kvcalc capacity`` where llama.cpp's table answers."""
    cells = question.flags.get("ctx_size")
    if cells is not None and any(option == "--context" for option, *_ in _sizes_of_nothing(spec)):
        others = {**question.flags, "ctx_size": None}
        yield "--ctx-size", "no layer keeps more for more tokens", changed(question, flags=others)
    yield from _said(question, question.engine, _TABLE, "dtype")


def _said(
    question: Any, engine: str,
    options: Mapping[str, tuple[str, tuple[str, ...]]], dtype: str,
) -> Iterator[Less]:  # fmt: skip
    yield from _without(question, options)
    for word, value in getattr(question, "flags", {}).items():
        if value is not None and word not in SIZES:
            others = {name: each for name, each in question.flags.items() if name != word}
            yield as_said(word, value), about(engine, word), changed(question, flags=others)
    for option, without in without_options(_at(question, dtype)):
        yield option, _MIX[option], _put(question, dtype, without)


def _without(question: Any, options: Mapping[str, tuple[str, tuple[str, ...]]]) -> Iterator[Less]:
    for option, (what, paths) in options.items():
        less = question
        for path in paths:
            less = _put(less, path)
        if less != question:
            yield option, what, less


def _at(record: Any, path: str) -> Any:
    """The value of a field of fields."""
    for name in path.split("."):
        record = getattr(record, name)
    return record


def _put(record: Any, path: str, *value: Any) -> Any:
    """The same with another value there; without one, with what it has where nothing is said."""
    name, _, rest = path.partition(".")
    if rest:
        return changed(record, **{name: _put(getattr(record, name), rest, *value)})
    new = (
        value[0] if value else {field: unsaid for field, _, unsaid in fields_of(type(record))}[name]
    )
    return changed(record, **{name: new})
