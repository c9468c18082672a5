"""The modules of a model as its checkpoint calls them: what a quantisation's lists of names are about.

kvcalc/convert/tensor_names.json, written by ``python -m tests.convert.tensor_names``, holds the paths
of every matrix by model_type, as transformers' classes and as their checkpoints have them.
"""

import json
import re
from collections.abc import Iterator
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

from kvcalc.frozen import changed, frozen
from kvcalc.memory.inventory import parameter_groups
from kvcalc.spec.model import ModelSpec
from kvcalc.spec.tensor_formats import rule_name
from kvcalc.tensors import ParamTensor

# What may stand before a layer's name: the text model's place inside other classes.
_ROOT = re.compile(
    r"^(?:(?:model|language_model|text_model|backbone|transformer|thinker|llm|decoder|text"
    r"|language|bert|roberta|module)\.)+"
)
PREFIXES = ("model.", "model.language_model.", "language_model.model.", "backbone.", "")

# What Kimi K3's own code adds to Kimi Linear. The projections around its experts are published in
# bf16 though the checkpoint's list of what is left alone does not have them.
_KIMI_K3: dict[str, tuple[str, ...]] = {
    "recurrent.g_proj": ("model.layers.{}.self_attn.g_proj",),
    "attention.g_proj": ("model.layers.{}.self_attn.g_proj",),
    "ffn.latent_down_proj": ("model.layers.{}.block_sparse_moe.routed_expert_down_proj",),
    "ffn.latent_up_proj": ("model.layers.{}.block_sparse_moe.routed_expert_up_proj",),
}
# What no class of transformers' has: by model type, rule -> paths.
_OWN: dict[str, dict[str, tuple[str, ...]]] = {
    "kimi_linear": _KIMI_K3,
    "spark2_5": {"attention.g_proj": ("model.layers.{}.self_attn.g_proj",)},
}
_KIMI_K3_PLAIN = ("ffn.latent_down_proj", "ffn.latent_up_proj")


# What MiniMax-M3's published files call modules that transformers' class keeps together or renames.
_MINIMAX_M3 = {
    "attention.indexer.wq_b": ("self_attn.index_q_proj",),
    "attention.indexer.wk": ("self_attn.index_k_proj",),
    "ffn.gate_proj": ("mlp.gate_proj",),
    "ffn.up_proj": ("mlp.up_proj",),
    "ffn.router": ("block_sparse_moe.gate",),
    "ffn.experts.gate_up_proj": ("block_sparse_moe.experts.*.w1", "block_sparse_moe.experts.*.w3"),
    "ffn.experts.down_proj": ("block_sparse_moe.experts.*.w2",),
    **{f"ffn.shared_expert.{part}_proj": (f"block_sparse_moe.shared_experts.{part}_proj",)
       for part in ("gate", "up", "down")},
}  # fmt: skip


@frozen
class Module:
    """A matrix of one layer and the module paths that hold it, without what stands before them.

    rule: what ``weight_formats`` calls it. names: ``layers.3.self_attn.q_proj``; experts that are
    modules of their own have ``*`` for their number. stacked: its experts are one tensor.
    half: 0 or 1 where it is the first or the second of two matrices that the tensor holds.
    """

    rule: str
    layer: int | None
    tensor: ParamTensor
    names: tuple[str, ...]
    stacked: bool = False
    half: int | None = None

    @property
    def linear(self) -> bool:
        """A linear layer of the model's layers, or stacked experts; not a table, head or router."""
        apart = self.tensor.component in ("embedding", "head", "router", "norm")
        return self.tensor.quantised and not apart

    def each(self) -> Iterator[tuple[str, ...]]:
        """The paths of every module that it is: one, or one for each expert."""
        if not any("*" in name for name in self.names):
            yield self.names
            return
        for index in range(self.tensor.shape[0]):
            yield tuple(name.replace("*", str(index)) for name in self.names)


def bare(name: str) -> str:
    """A path without what stands before the text model: ``model.layers.0.mlp`` is layers.0.mlp."""
    return _ROOT.sub("", name)


def modules(spec: ModelSpec, model_type: str) -> Iterator[Module]:
    """Every matrix of every layer with its paths; those whose paths are not known have none."""
    table = _table().get(model_type) or _remote(model_type) or _common()
    own = _OWN.get(model_type, {})
    beside = _MINIMAX_M3 if model_type.startswith("minimax_m3") else {}
    for group in parameter_groups(spec):
        for tensor in group.tensors:
            if len(tensor.shape) < 2 or tensor.buffer:
                continue
            rule = rule_name((group.prefix + tensor.name).replace("encoder.layers.{}.", "encoder."))
            paths = table.get(rule) or own.get(rule) or _common().get(rule, ())
            # The class's names first: adapters are called after them.
            paths = (*paths, *(f"model.layers.{{}}.{path}" for path in beside.get(rule, ())))
            if own is _KIMI_K3 and rule in _KIMI_K3_PLAIN:
                tensor = changed(tensor, quantised=False)
            stars = any("*" in path for path in paths)
            for layer in group.layers or (None,):
                names = tuple(bare(path.replace("{}", str(layer))) for path in paths)
                name = rule_name(group.prefix + tensor.name)
                whole = Module(name, layer, tensor, names, not stars)
                yield from _halves(whole) if tensor.fused == 2 else (whole,)


# The modules that checkpoints have for the first and the second half of experts' gate and up.
_HALVES = (("gate_proj", "w1"), ("up_proj", "w3"))


def _halves(whole: Module) -> tuple[Module, ...]:
    """Both matrices of a tensor that checkpoints keep apart; the tensor itself where they do not."""
    leaves = {name.rpartition(".")[2] for name in whole.names}
    if not all(leaves.intersection(words) for words in _HALVES):
        return (whole,)
    # The name of both together is no module of the checkpoint, and would match what one's name does.
    return tuple(
        replace(
            whole,
            half=half,
            names=tuple(name for name in whole.names if name.rpartition(".")[2] in _HALVES[half]),
        )
        for half in (0, 1)
    )


@lru_cache(maxsize=1)
def _table() -> dict[str, dict[str, tuple[str, ...]]]:
    text = Path(__file__).parent.with_name("tensor_names.json").read_text("utf-8")
    return {
        model_type: {rule: tuple(paths) for rule, paths in entry["names"].items()}
        for entry in json.loads(text)
        for model_type in entry["types"]
    }


# Classes that came with their checkpoints and keep several matrices in one module: what stands before a
# layer, q, k and v together, o, gate, up and down.
_REMOTE = {
    "bailing_moe": ("model.layers.{}.", "attention.query_key_value", "attention.dense", "mlp.gate_proj",
                    "mlp.up_proj", "mlp.down_proj"),
    "openelm": ("transformer.layers.{}.", "attn.qkv_proj", "attn.out_proj", "ffn.proj_1", "ffn.proj_1",
                "ffn.proj_2"),
    "spark2_5": ("model.layers.{}.", "self_attn.q_k_v_proj", "self_attn.out_proj", "mlp.gate_proj",
                 "mlp.up_proj", "mlp.down_proj"),
    "qwen": ("transformer.h.{}.", "attn.c_attn", "attn.c_proj", "mlp.w2", "mlp.w1", "mlp.c_proj"),
    "chatglm": ("transformer.encoder.layers.{}.", "self_attention.query_key_value",
                "self_attention.dense", "mlp.dense_h_to_4h", "mlp.dense_h_to_4h", "mlp.dense_4h_to_h"),
    "internlm2": ("model.layers.{}.", "attention.wqkv", "attention.wo", "feed_forward.w1",
                  "feed_forward.w3", "feed_forward.w2"),
    "baichuan": ("model.layers.{}.", "self_attn.W_pack", "self_attn.o_proj", "mlp.gate_proj",
                 "mlp.up_proj", "mlp.down_proj"),
}  # fmt: skip
_RULES = ("attention.q_proj", "attention.k_proj", "attention.v_proj", "attention.o_proj",
          "ffn.gate_proj", "ffn.up_proj", "ffn.down_proj")  # fmt: skip


def _remote(model_type: str) -> dict[str, tuple[str, ...]]:
    if model_type not in _REMOTE:
        return {}
    prefix, together, *others = _REMOTE[model_type]
    paths = (together, together, together, *others)
    return {rule: (prefix + path,) for rule, path in zip(_RULES, paths, strict=True)}


@lru_cache(maxsize=1)
def _common() -> dict[str, tuple[str, ...]]:
    """The paths of the plain decoders that remote code follows."""
    found: dict[str, tuple[str, ...]] = {}
    for model_type in ("qwen2", "deepseek_v3", "deepseek_v32", "mixtral", "mamba2", "qwen3_next"):
        for rule, paths in _table().get(model_type, {}).items():
            found[rule] = tuple(dict.fromkeys((*found.get(rule, ()), *paths)))
    return found
