"""The linear layers of a model by the names that peft's ``target_modules`` has for them.

The names are the leaves of transformers' module paths (kvcalc/convert/tensor_names.json); several matrices
that a class keeps in one module, such as c_attn or qkv_proj, are one layer. Without names it is
``all-linear``: every linear layer but the head. What peft 0.21 makes of that word in a mixture of experts
differs from type to type, so those are asked for by name; ``experts`` are the stacked ones.

Held to peft on random models of every type: tests/convert/adapters_oracle.py.
"""

from collections.abc import Sequence

from kvcalc.convert.quantized.modules import Module, modules
from kvcalc.engines import ENGINES, engine_of
from kvcalc.errors import UnsupportedError, UsageError
from kvcalc.frozen import changed
from kvcalc.memory.adapters import Adapted, Adapters, Reservation
from kvcalc.names import hint
from kvcalc.spec.model import ModelSpec
from kvcalc.tensors import ParamTensor

ALL = "all-linear"
# Types whose classes hold a layer of that name otherwise than the inventory has it, or more of them.
_OTHERWISE = {
    "olmo_hybrid": ("q_proj", "k_proj"),
    "phi4_multimodal": ("o_proj", "gate_up_proj", "down_proj"),
    "dbrx": ("Wqkv", "w1", "w2"),
    "zamba": (
        "q_proj",
        "k_proj",
        "v_proj",
        "o_proj",
        "gate_proj",
        "up_proj",
        "down_proj",
        "dt_proj_bias",
    ),
    "zamba2": ("q_proj", "k_proj", "v_proj", "o_proj", "gate_up_proj", "down_proj", "0", "1"),
    "switch_transformers": ("wi", "wo"),
    "nllb-moe": ("fc1", "fc2"),
    # The pooler's layer has the same name.
    **dict.fromkeys(
        (
            "bert",
            "longformer",
            "megatron-bert",
            "rembert",
            "camembert",
            "data2vec-text",
            "ernie",
            "mpnet",
            "roberta",
            "roberta-prelayernorm",
            "xlm-roberta",
            "xlm-roberta-xl",
        ),
        ("dense",),
    ),
}
# Types that have linear layers outside their layers, which all-linear takes too, and one of which it
# leaves out dense layers, as their names are those of its experts.
_OUTSIDE = frozenset((
    "gemma3n_text", "gemma4_text", "opt", "albert", "bert", "big_bird", "longformer",
    "jina_embeddings_v3", "megatron-bert", "rembert", "camembert", "data2vec-text", "ernie",
    "modernbert-decoder", "mpnet", "roberta", "roberta-prelayernorm", "xlm-roberta",
    "xlm-roberta-xl", "biogpt", "t5gemma", "whisper", "rwkv", "deepseek_v2",
))  # fmt: skip


# More than any model is wide, and any server has slots.
_MOST = 1 << 20


def adapters_of(
    spec: ModelSpec,
    rank: int | None,
    count: int | None,
    named: Sequence[str] = (),
    engine: str | None = None,
    sharded: bool = False,
) -> Adapters | None:
    """The adapters that were asked for; None where none were. named: modules, or ``all-linear``.
    engine: whose slots they take; None or one without its own takes what peft stores. sharded: ranks
    divide all of them.

    Raises UsageError for a rank without a number, or modules that the model has not, with those that it
    has; UnsupportedError where their names, or the engine's slots, are not known.
    """
    if rank is None and count is None and not named and not sharded:
        return None
    if rank is None or count is None:
        raise UsageError(
            "--lora-rank R and --max-loras N go together: so many adapters of that rank"
        )
    if rank < 1 or count < 1:
        raise UsageError("--lora-rank and --max-loras are at least 1")
    known = linear_layers(spec)
    if not known:
        raise UnsupportedError(f"{spec.name}: the names of its linear layers are not known here")
    words = tuple(dict.fromkeys(word for word in named if word != ALL))
    for word in words:
        _check(spec, word, known)
    every = tuple(layer for found in known.values() for layer in found)
    for name, value in (("lora_rank", rank), ("max_loras", count)):
        if value > _MOST:
            raise UsageError(f"{name} {value}: at most {_MOST:,}")
    return Adapters(
        rank=rank, count=count, every=every, named=words, unclear=_unclear(spec, known),
        reservation=_reservation(engine), sharded=sharded,
    )  # fmt: skip


def _reservation(engine: str | None) -> Reservation | None:
    """What an engine sets aside; None for the need and for transformers, whose adapters are peft's."""
    if engine in (None, "logical", "transformers"):
        return None
    if engine not in ENGINES:
        raise UsageError(
            "--max-loras: an engine has slots of its own for adapters: name one --engine"
        )
    record = engine_of(engine)
    if record.adapters is None:
        raise UnsupportedError(
            f"--max-loras: what {record.words} sets aside for adapters is not accounted for"
        )
    return record.adapters


def _check(spec: ModelSpec, word: str, known: dict[str, list[Adapted]]) -> None:
    if word not in known:
        near = hint(word, known)
        raise UsageError(
            f"--lora-modules {word}: {spec.name} has none of that name{near and ': '}{near}; it has "
            f"{', '.join(known)}"
        )
    if word in _OTHERWISE.get(spec.model_type or "", ()):
        raise UnsupportedError(
            f"--lora-modules {word}: how the class of {spec.model_type} holds it is not accounted for"
        )


def _unclear(spec: ModelSpec, known: dict[str, list[Adapted]]) -> str:
    """Why ``all-linear`` is not known for a model; "" where it is."""
    names = ", ".join(name for name in known if name != "experts")
    if "experts" in known:
        return (
            "--lora-rank: what peft's all-linear takes of a mixture of experts differs from type to type: "
            f"name the layers, --lora-modules with some of {names}, experts"
        )
    if spec.model_type in _OUTSIDE or spec.model_type in _OTHERWISE:
        return (
            f"--lora-rank: {spec.model_type} has linear layers that are not accounted for: name the "
            f"layers, --lora-modules with some of {names}"
        )
    return ""


def linear_layers(spec: ModelSpec) -> dict[str, list[Adapted]]:
    """The linear layers inside the model's layers, by name; those of one shape are one."""
    held: dict[tuple[str, int], list[ParamTensor]] = {}
    for module in modules(spec, spec.model_type or ""):
        if module.layer is not None and module.half in (None, 0) and _is_linear(module):
            place = -1 - module.layer if module.rule.startswith("encoder.") else module.layer
            held.setdefault((_path(spec, module), place), []).append(_own(module.tensor))
    counts: dict[tuple[str, tuple[ParamTensor, ...]], int] = {}
    for (path, _), tensors in held.items():
        key = path, tuple(tensors)
        counts[key] = counts.get(key, 0) + 1
    layers: dict[str, list[Adapted]] = {}
    for (path, found), count in counts.items():
        name = "experts" if path.startswith("experts.") else path.rpartition(".")[2]
        layers.setdefault(name, []).append(Adapted(name=name, tensors=found, layers=count))
    return layers


def _own(tensor: ParamTensor) -> ParamTensor:
    """A tensor by its shape and what divides it alone: one object for each kind."""
    return changed(tensor, name=tensor.name.rpartition(".")[0].rpartition(".")[2] or tensor.name)


def _is_linear(module: Module) -> bool:
    """A matrix of a linear layer, or stacked experts: not a table, a convolution or a parameter."""
    tensor = module.tensor
    if tensor.component == "experts":
        return len(tensor.shape) == 3
    leaf = module.rule.rpartition(".")[2]
    apart = tensor.component in ("embedding", "head") or leaf in _PARAMETERS
    return tensor.quantised and len(tensor.shape) == 2 and not apart


# Matrices that classes hold as parameters of their own.
_PARAMETERS = ("A_log", "relative_attention_bias", "conv1d", "r_k")
# GPT-2's feed-forward layers differ by transposition alone, which the table of names cannot tell apart.
_SWAPPED = {"c_fc": "c_proj", "c_proj": "c_fc"}


def _path(spec: ModelSpec, module: Module) -> str:
    """The module's path without its layer, as the class has it."""
    if module.tensor.component == "experts":
        return "experts." + module.rule.rpartition(".")[2]
    for name in module.names:
        if "*" not in name:
            path = name.partition(f".{module.layer}.")[2] or name
            head, _, leaf = path.rpartition(".")
            if spec.model_type == "gpt2" and head == "mlp":
                leaf = _SWAPPED.get(leaf, leaf)
            return f"{head}.{leaf}" if head else leaf
    return module.rule.rpartition(".")[2]
