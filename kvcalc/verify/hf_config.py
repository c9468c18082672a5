"""A spec as the config.json of its transformers twin: the inverse of kvcalc/convert.

``twin_of`` gives the model_type, the class to build and the config's values. Field names are those
of transformers 5.23's configuration classes (models/<model_type>/configuration_<model_type>.py).

What a configuration class lays down by itself is left to it: which layers have a window (Gemma,
gpt-oss, Command, OLMo 3), which have attention (Qwen3-Next, Jamba, RecurrentGemma), where experts
begin. So a spec whose layers stand in another order than the class's meets a twin that differs.
Where the class has no rule, the order of layers is the spec's own and is listed in ``unconfirmed``.

Nothing here imports torch; tests read the values back with kvcalc.convert.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from kvcalc.errors import UnsupportedError
from kvcalc.spec.layers import decoder_layers, encoder_layers
from kvcalc.spec.model import Block, ModelSpec
from kvcalc.verify.published_layers import PUBLISHED

Values = dict[str, Any]
T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Twin:
    """The transformers model that a spec describes.

    model_type: of its config. kind: which class of it: causal, seq2seq or base (without a head).
    values: the config's. spec: what the twin can be held to; not the spec itself where difference
    says why transformers builds another model.
    unconfirmed: what the twin took from the spec and transformers has no rule of its own for.
    """

    model_type: str
    kind: str
    values: Values
    spec: ModelSpec
    difference: str = ""
    unconfirmed: tuple[str, ...] = ()


class NotExpressibleError(UnsupportedError):
    """The spec says something that no config of its model_type can say."""


def needs(part: T | None, name: str) -> T:
    """A part that every model of the type has. Raises NotExpressibleError without it."""
    if part is None:
        raise NotExpressibleError(f"a model of this model_type has {name}, and the spec has none")
    return part


class Stack:
    """A spec's layers, and what all of them agree on."""

    def __init__(self, spec: ModelSpec, *, encoder: bool = False) -> None:
        self.spec = spec
        layers = encoder_layers(spec) if encoder else decoder_layers(spec)
        self.blocks: list[Block] = [spec.blocks[layer.block] for layer in layers]
        self.num_layers = len(self.blocks)
        self.attentions: list[Any] = self._all("attention")
        self.mixers: list[Any] = self._all("recurrent")
        ffns = self._all("ffn")
        self.experts: list[Any] = [ffn for ffn in ffns if ffn.kind == "moe"]
        self.ffns: list[Any] = [ffn for ffn in ffns if ffn.kind != "moe"]

    def _all(self, slot: str) -> list[Any]:
        return [part for block in self.blocks if (part := getattr(block, slot)) is not None]

    def where(self, slot: str, **fields: Any) -> list[int]:
        """Indices of the layers that have ``slot``, with these values of its fields."""
        return [
            index
            for index, block in enumerate(self.blocks)
            if (part := getattr(block, slot)) is not None
            and all(getattr(part, name, None) == value for name, value in fields.items())
        ]

    def one(self, parts: list[Any], field: str, default: Any = None) -> Any:
        """The value that all parts have. Raises NotExpressibleError when they differ."""
        if not parts:
            return default
        values = {getattr(part, field, default) for part in parts}
        if len(values) > 1:
            shown = ", ".join(sorted(map(str, values)))
            raise NotExpressibleError(
                f"{self.spec.name}: layers differ in {field} ({shown}), "
                f"and a {self.spec.model_type} config has one value"
            )
        return values.pop()

    def attention(self, field: str, default: Any = None) -> Any:
        return self.one(self.attentions, field, default)

    def mixer(self, field: str) -> Any:
        return self.one(self.mixers, field)

    def ffn(self, field: str = "intermediate_size") -> Any:
        return self.one(self.ffns, field)

    def expert(self, field: str) -> Any:
        return self.one(self.experts, field)

    def bias(self, side: str = "q") -> bool:
        """Whether that projection has a bias in all layers."""
        sides = {side in attention.bias for attention in self.attentions}
        return sides == {True}

    def window(self, field: str = "sliding_window") -> int | None:
        """The one window that layers with a window have."""
        values = {value for part in self.attentions if (value := getattr(part, field)) is not None}
        if len(values) > 1:
            raise NotExpressibleError(f"{self.spec.name}: layers have windows of {sorted(values)}")
        return values.pop() if values else None

    def interval(self, indices: list[int]) -> int:
        """Every how many layers one of these stands, by their number alone."""
        return self.num_layers // len(indices) if indices else self.num_layers + 1


def base(s: Stack, **names: str) -> Values:
    """Width, vocabulary, layers, context and tying. names: what the config calls them."""
    spec = s.spec
    values: Values = {
        "hidden_size": spec.hidden_size,
        "vocab_size": spec.vocab_size,
        "num_hidden_layers": s.num_layers,
    }
    if spec.tie_word_embeddings is not None:
        values["tie_word_embeddings"] = spec.tie_word_embeddings
    if spec.max_position_embeddings is not None:
        values["max_position_embeddings"] = spec.max_position_embeddings
    return {names.get(key, key): value for key, value in values.items()}


def heads(s: Stack, *, head_dim: bool = True) -> Values:
    """Query heads, KV heads and their width. Layers with a recurrent mixer only are not asked."""
    values = {
        "num_attention_heads": s.attention("num_attention_heads"),
        "num_key_value_heads": s.attention("num_key_value_heads"),
    }
    return values | ({"head_dim": s.attention("head_dim")} if head_dim else {})


def dense(s: Stack) -> Values:
    return {"intermediate_size": s.ffn()} if s.ffns else {}


def moe(
    s: Stack, experts: str = "num_experts", chosen: str = "num_experts_per_tok",
    width: str = "moe_intermediate_size",
) -> Values:  # fmt: skip
    return {
        experts: s.expert("num_experts"),
        chosen: s.expert("num_experts_per_tok"),
        width: s.expert("moe_intermediate_size"),
    }


def shared_count(s: Stack) -> int:
    """How many shared experts of the routed ones' width the shared part amounts to."""
    shared, width = s.expert("shared_expert_intermediate_size"), s.expert("moe_intermediate_size")
    return shared // width if shared else 0


def full_or_sliding(s: Stack, sliding: str = "sliding_attention") -> list[str]:
    field = "attention_chunk_size" if sliding.startswith("chunk") else "sliding_window"
    return [
        "full_attention" if getattr(block.attention, field) is None else sliding
        for block in s.blocks
    ]


# ---------------------------------------------------------------- Llama and its line


def llama(s: Stack) -> Values:
    values = base(s) | heads(s) | dense(s)
    return values | {"attention_bias": s.bias(), "mlp_bias": bool(s.ffn("bias"))}


def windowed(s: Stack) -> Values:
    return base(s) | heads(s) | dense(s) | {"sliding_window": s.window()}


def attention_bias(s: Stack) -> Values:
    return base(s) | heads(s) | dense(s) | {"attention_bias": s.bias()}


def no_bias(s: Stack) -> Values:
    return base(s) | heads(s) | dense(s)


def internlm3(s: Stack) -> Values:
    return base(s) | heads(s) | dense(s) | {"qkv_bias": s.bias(), "bias": bool(s.ffn("bias"))}


def seed_oss(s: Stack) -> Values:
    return llama(s) | {"attention_out_bias": s.bias("o")}


def smollm3(s: Stack) -> Values:
    return llama(s) | {"use_sliding_window": s.window() is not None, "sliding_window": s.window()}


def nemotron(s: Stack) -> Values:
    return llama(s)


def ernie(s: Stack) -> Values:
    return base(s) | heads(s) | dense(s) | {"use_bias": s.bias()}


def phi3(s: Stack) -> Values:
    return windowed(s) | {"pad_token_id": 0}


def phi(s: Stack) -> Values:
    qk = s.attention("qk_norm") != "none"
    return base(s) | heads(s, head_dim=False) | dense(s) | {"qk_layernorm": qk}


def stablelm(s: Stack) -> Values:
    return base(s) | heads(s, head_dim=False) | dense(s) | {
        "use_qkv_bias": s.bias(),
        "qk_layernorm": s.attention("qk_norm") != "none",
        "use_parallel_residual": {block.num_norms for block in s.blocks} == {1},
    }  # fmt: skip


def starcoder2(s: Stack) -> Values:
    values = base(s) | heads(s, head_dim=False) | dense(s)
    return values | {"use_bias": s.bias(), "sliding_window": s.window()}


# ---------------------------------------------------------------- Qwen


def qwen2(s: Stack) -> Values:
    window = s.window()
    values = base(s) | heads(s) | dense(s) | {"use_sliding_window": window is not None}
    if window is not None:
        full = s.num_layers - len([a for a in s.attentions if a.sliding_window is not None])
        values |= {"sliding_window": window, "max_window_layers": full}
    return values


def qwen3(s: Stack) -> Values:
    return qwen2(s) | {"attention_bias": s.bias()}


def qwen2_moe(s: Stack) -> Values:
    shared = s.expert("shared_expert_intermediate_size")
    return qwen2(s) | moe(s) | {"shared_expert_intermediate_size": shared}


def qwen3_moe(s: Stack) -> Values:
    return qwen3(s) | moe(s)


def deltanet(s: Stack) -> Values:
    names = (
        "num_key_heads",
        "num_value_heads",
        "key_head_dim",
        "value_head_dim",
        "conv_kernel_dim",
    )
    return {f"linear_{name}": s.mixer(f"linear_{name}") for name in names} | {
        "full_attention_interval": s.interval(s.where("attention")),
        "attention_bias": s.bias(),
    }


def qwen3_5(s: Stack) -> Values:
    return base(s) | heads(s) | dense(s) | deltanet(s)


def qwen3_next(s: Stack) -> Values:
    shared = s.expert("shared_expert_intermediate_size")
    return qwen3_5(s) | moe(s) | {"shared_expert_intermediate_size": shared}


# ---------------------------------------------------------------- Gemma


def gemma2(s: Stack) -> Values:
    return attention_bias(s) | {"sliding_window": s.window()}


def gemma3n(s: Stack) -> Values:
    spec = s.spec
    altup, laurel = needs(spec.altup, "altup"), needs(spec.laurel, "laurel")
    embeddings = needs(spec.per_layer_embeddings, "per_layer_embeddings")
    values = base(s) | heads(s) | dense(s) | {
        "sliding_window": s.window(),
        "num_kv_shared_layers": sum(a.shared_kv is not None for a in s.attentions),
        "altup_num_inputs": altup.altup_num_inputs,
        "altup_active_idx": altup.altup_active_idx,
        "laurel_rank": laurel.laurel_rank,
        "hidden_size_per_layer_input": embeddings.hidden_size_per_layer_input,
        "vocab_size_per_layer_input": embeddings.vocab_size_per_layer_input,
        "activation_sparsity_pattern": [0.0] * s.num_layers,
    }  # fmt: skip
    return values | {"intermediate_size": [s.ffn()] * s.num_layers}


def gemma4(s: Stack) -> Values:
    embeddings = s.spec.per_layer_embeddings
    local = [a for a in s.attentions if a.sliding_window is not None]
    full = [a for a in s.attentions if a.sliding_window is None]
    readers = [b for b in s.blocks if getattr(b.attention, "shared_kv", None) is not None]
    k_eq_v = bool(s.one(full, "attention_k_eq_v"))
    values = base(s) | {
        "num_attention_heads": s.attention("num_attention_heads"),
        "num_key_value_heads": s.one(local, "num_key_value_heads"),
        "head_dim": s.one(local, "head_dim"),
        "global_head_dim": s.one(full, "head_dim"),
        "sliding_window": s.window(),
        # The class has a period of six and no field for another; the checkpoints list their layers.
        "layer_types": full_or_sliding(s),
        "attention_k_eq_v": k_eq_v,
        "num_global_key_value_heads": s.one(full, "num_key_value_heads") if k_eq_v else None,
        "num_kv_shared_layers": len(readers),
        "hidden_size_per_layer_input": embeddings.hidden_size_per_layer_input if embeddings else 0,
    }  # fmt: skip
    if embeddings:
        values["vocab_size_per_layer_input"] = embeddings.vocab_size_per_layer_input
    if s.experts:
        values |= moe(s, chosen="top_k_experts")
        values |= {"enable_moe_block": True,
                   "intermediate_size": s.expert("shared_expert_intermediate_size")}  # fmt: skip
    else:
        widths = sorted({ffn.intermediate_size for ffn in s.ffns})
        values |= {"intermediate_size": widths[0], "use_double_wide_mlp": len(widths) > 1}
    return values


def recurrent_gemma(s: Stack) -> Values:
    return base(s) | {
        "num_attention_heads": s.attention("num_attention_heads"),
        "num_key_value_heads": s.attention("num_key_value_heads"),
        "intermediate_size": 2 * s.ffn(),
        "attention_window_size": s.window(),
        "lru_width": s.mixer("lru_width"),
        "conv1d_width": s.mixer("conv1d_width"),
        "attention_bias": s.bias(),
    }


# ---------------------------------------------------------------- Cohere, OLMo, Granite, GLM


def cohere(s: Stack) -> Values:
    values = base(s) | heads(s, head_dim=False) | dense(s)
    return values | {
        "use_qk_norm": s.attention("qk_norm") != "none", "attention_bias": s.bias()
    }  # fmt: skip


def cohere2(s: Stack) -> Values:
    values = base(s) | heads(s, head_dim=False) | dense(s)
    return values | {"sliding_window": s.window(), "attention_bias": s.bias()}


def olmo(s: Stack) -> Values:
    return base(s) | heads(s, head_dim=False) | dense(s) | {"attention_bias": s.bias()}


def olmo3(s: Stack) -> Values:
    return olmo(s) | {"sliding_window": s.window()}


def olmoe(s: Stack) -> Values:
    values = base(s) | heads(s, head_dim=False) | moe(s, width="intermediate_size")
    return values | {"attention_bias": s.bias()}


def exaone4(s: Stack) -> Values:
    window = s.window()
    values = base(s) | heads(s, head_dim=False) | dense(s) | {"sliding_window": window}
    if window is None:
        # Without a window the class divides by a pattern of zero.
        return values | {"layer_types": ["full_attention"] * s.num_layers}
    return values | {"sliding_window_pattern": 4}


def granite(s: Stack) -> Values:
    return base(s) | heads(s, head_dim=False) | dense(s) | {
        "attention_bias": s.bias(), "mlp_bias": bool(s.ffn("bias"))
    }  # fmt: skip


def granitemoe(s: Stack) -> Values:
    values = base(s) | heads(s, head_dim=False) | {"attention_bias": s.bias()}
    return values | moe(s, experts="num_local_experts", width="intermediate_size")


def mamba2_fields(s: Stack, prefix: str = "mamba_") -> Values:
    inner = s.mixer("num_heads") * s.mixer("head_dim")
    return {
        f"{prefix}n_heads": s.mixer("num_heads"),
        f"{prefix}d_head": s.mixer("head_dim"),
        f"{prefix}d_state": s.mixer("state_size"),
        f"{prefix}n_groups": s.mixer("n_groups"),
        f"{prefix}d_conv": s.mixer("conv_kernel"),
        f"{prefix}expand": inner // s.spec.hidden_size,
        f"{prefix}conv_bias": s.mixer("conv_bias"),
        f"{prefix}proj_bias": s.mixer("proj_bias"),
    }


def granitemoehybrid(s: Stack) -> Values:
    values = base(s) | heads(s, head_dim=False) | mamba2_fields(s)
    values["layer_types"] = ["mamba" if b.attention is None else "attention" for b in s.blocks]
    if s.experts:
        values |= moe(s, experts="num_local_experts", width="intermediate_size")
        shared = s.expert("shared_expert_intermediate_size")
        return values | {"shared_intermediate_size": shared}
    return values | {"num_local_experts": 0, "num_experts_per_tok": 0, "intermediate_size": s.ffn(),
                     "shared_intermediate_size": s.ffn()}  # fmt: skip


def bamba(s: Stack) -> Values:
    values = base(s) | heads(s, head_dim=False) | dense(s) | mamba2_fields(s)
    return values | {"attn_layer_indices": s.where("attention")}


def glm(s: Stack) -> Values:
    return attention_bias(s)


def glm4_moe(s: Stack) -> Values:
    return attention_bias(s) | deepseek_experts(s) | {
        "use_qk_norm": s.attention("qk_norm") != "none"
    }  # fmt: skip


# ---------------------------------------------------------------- experts


def deepseek_experts(s: Stack) -> Values:
    """Routed experts from some layer on: how many dense layers there are, not which."""
    values = moe(s, experts="n_routed_experts") | {"n_shared_experts": shared_count(s)}
    return values | {"first_k_dense_replace": len(s.ffns), "n_group": 1, "topk_group": 1}


def mixtral(s: Stack) -> Values:
    values = base(s) | heads(s) | {"sliding_window": s.window()}
    return values | moe(s, experts="num_local_experts", width="intermediate_size")


def minimax_m2(s: Stack) -> Values:
    return base(s) | heads(s) | moe(s, experts="num_local_experts", width="intermediate_size")


def phimoe(s: Stack) -> Values:
    values = base(s) | heads(s, head_dim=False) | {"attention_bias": s.bias(),
              "lm_head_bias": s.spec.head_bias, "sliding_window": s.window()}  # fmt: skip
    return values | moe(s, experts="num_local_experts", width="intermediate_size")


def gpt_oss(s: Stack) -> Values:
    values = base(s) | heads(s) | {"sliding_window": s.window(), "attention_bias": s.bias()}
    return values | moe(s, experts="num_local_experts", width="intermediate_size")


def llama4(s: Stack) -> Values:
    values = base(s) | heads(s) | {"attention_chunk_size": s.window("attention_chunk_size")}
    values |= moe(s, experts="num_local_experts", width="intermediate_size")
    values["interleave_moe_layer_step"] = s.interval(s.where("ffn", kind="moe"))
    norms = {attention.qk_norm for attention in s.attentions}
    values["use_qk_norm"] = "l2" in norms
    return values | ({"intermediate_size_mlp": s.ffn()} if s.ffns else {})


def ernie_moe(s: Stack) -> Values:
    values = base(s) | heads(s) | dense(s) | {"use_bias": s.bias()}
    values |= moe(s, experts="moe_num_experts", chosen="moe_k")
    return values | {"moe_num_shared_experts": shared_count(s), "moe_layer_interval": 1,
                     "moe_layer_start_index": len(s.ffns)}  # fmt: skip


def hunyuan_dense(s: Stack) -> Values:
    return attention_bias(s)


def hunyuan_moe(s: Stack) -> Values:
    values = base(s) | heads(s) | {"attention_bias": s.bias()}
    return values | moe(s, chosen="moe_topk", width="intermediate_size")


def dbrx(s: Stack) -> Values:
    spec = s.spec
    return {
        "d_model": spec.hidden_size, "vocab_size": spec.vocab_size, "n_layers": s.num_layers,
        "n_heads": s.attention("num_attention_heads"), "max_seq_len": spec.max_position_embeddings,
        "tie_word_embeddings": spec.tie_word_embeddings,
        "attn_config": {"kv_n_heads": s.attention("num_key_value_heads"), "rope_theta": 500000,
                        "clip_qkv": 8},
        "ffn_config": moe(s, "moe_num_experts", "moe_top_k", "ffn_hidden_size"),
    }  # fmt: skip


def dots1(s: Stack) -> Values:
    return attention_bias(s) | deepseek_experts(s)


def mimo(s: Stack) -> Values:
    full = [a for a in s.attentions if a.sliding_window is None]
    return base(s) | dense(s) | moe(s, experts="n_routed_experts") | {
        "num_attention_heads": s.attention("num_attention_heads"),
        "num_key_value_heads": s.one(full, "num_key_value_heads"),
        "head_dim": s.attention("head_dim"), "v_head_dim": s.attention("value_dim"),
        "sliding_window": s.window(), "attention_bias": s.bias(),
    }  # fmt: skip


# ---------------------------------------------------------------- MLA and DeepSeek


def mla(s: Stack) -> Values:
    names = ("num_attention_heads", "q_lora_rank", "kv_lora_rank", "qk_nope_head_dim",
             "qk_rope_head_dim", "v_head_dim")  # fmt: skip
    return {name: s.attention(name) for name in names} | {
        "num_key_value_heads": s.attention("num_attention_heads"),
        "attention_bias": s.bias("kv_a"),
    }


def deepseek(s: Stack) -> Values:
    return base(s) | dense(s) | mla(s) | deepseek_experts(s)


def indexed(s: Stack) -> Values:
    """The indexer of DSA; layers without one reuse another's selection."""
    indexers = [a.indexer for a in s.attentions if a.indexer is not None]
    names = ("index_n_heads", "index_head_dim", "index_topk")
    values = deepseek(s) | {name: s.one(indexers, name) for name in names}
    if len(indexers) < s.num_layers:
        values["indexer_types"] = [
            "full" if a.indexer is not None else "shared" for a in s.attentions
        ]
    return values


def minicpm3(s: Stack) -> Values:
    return base(s) | dense(s) | mla(s)


def longcat(s: Stack) -> Values:
    spec = s.spec
    return {
        key: value for key, value in (base(s) | mla(s)).items() if key != "num_hidden_layers"
    } | {
        "num_layers": s.num_layers // 2,
        "ffn_hidden_size": s.ffn(),
        "n_routed_experts": s.expert("num_experts"),
        "zero_expert_num": s.expert("num_zero_experts"),
        "moe_topk": s.expert("num_experts_per_tok"),
        "expert_ffn_hidden_size": s.expert("moe_intermediate_size"),
        "tie_word_embeddings": spec.tie_word_embeddings,
    }


def kimi_linear(s: Stack) -> Values:
    full = [index + 1 for index in s.where("attention")]
    values = deepseek(s)
    for name in ("n_group", "topk_group", "n_routed_experts"):
        values.pop(name)
    return values | {
        "num_local_experts": s.expert("num_experts"),
        "linear_attn_config": {
            "full_attn_layers": full,
            "kda_layers": [index + 1 for index in s.where("recurrent")],
            "num_heads": s.mixer("num_heads"), "head_dim": s.mixer("head_dim"),
            "short_conv_kernel_size": s.mixer("short_conv_kernel_size"),
        },
    }  # fmt: skip


def deepseek_v4(s: Stack) -> Values:
    kinds = {"csa": "compressed_sparse_attention", "hca": "heavily_compressed_attention",
             "v4_window": "sliding_attention"}  # fmt: skip
    rates = {kinds[a.kind]: a.compress_rate for a in s.attentions if a.kind != "v4_window"}
    sparse = [a for a in s.attentions if a.kind == "csa"]
    connections = needs(s.spec.hyper_connections, "hyper_connections")
    names = ("num_attention_heads", "head_dim", "q_lora_rank", "o_groups", "o_lora_rank")
    values = base(s) | moe(s, experts="n_routed_experts") | {
        name: s.attention(name) for name in names
    }  # fmt: skip
    return values | {name: s.one(sparse, name) for name in
                     ("index_n_heads", "index_head_dim", "index_topk")} | {
        "num_key_value_heads": 1, "sliding_window": s.window(),
        "n_shared_experts": shared_count(s), "hc_mult": connections.hc_mult,
        "layer_types": [kinds[a.kind] for a in s.attentions],
        "compress_rates": {"compressed_sparse_attention": 4, "heavily_compressed_attention": 128}
        | rates,
        "mlp_layer_types": ["hash_moe" if e.hash_vocab_size else "moe" for e in s.experts],
    }  # fmt: skip


# ---------------------------------------------------------------- MiniMax, Mamba and hybrids


def minimax(s: Stack) -> Values:
    interval = s.interval(s.where("attention"))
    types = ["linear_attention" if (index + 1) % interval else "full_attention"
             for index in range(s.num_layers)]  # fmt: skip
    values = base(s) | heads(s) | moe(s, experts="num_local_experts", width="intermediate_size")
    return values | {"layer_types": types, "block_size": 256}


def minimax_m3(s: Stack) -> Values:
    indexers = [a.indexer for a in s.attentions if a.indexer is not None]
    dense_layers = len(s.ffns)
    sparse = [int(index >= s.num_layers - len(indexers)) for index in range(s.num_layers)]
    return base(s) | heads(s) | moe(s, "num_local_experts", width="intermediate_size") | {
        "dense_intermediate_size": s.ffn(),
        "shared_intermediate_size": s.expert("shared_expert_intermediate_size"),
        "index_n_heads": s.one(indexers, "index_n_heads"),
        "index_head_dim": s.one(indexers, "index_head_dim"),
        "sparse_attention_config": {"sparse_attention_freq": sparse},
        "moe_layer_freq": [int(index >= dense_layers) for index in range(s.num_layers)],
    }  # fmt: skip


def mamba(s: Stack) -> Values:
    return base(s) | {
        "intermediate_size": s.mixer("intermediate_size"),
        "expand": s.mixer("intermediate_size") // s.spec.hidden_size,
        "state_size": s.mixer("state_size"), "conv_kernel": s.mixer("conv_kernel"),
        "time_step_rank": s.mixer("time_step_rank"), "use_conv_bias": s.mixer("conv_bias"),
        "use_bias": s.mixer("proj_bias"),
    }  # fmt: skip


def mamba2(s: Stack) -> Values:
    inner = s.mixer("num_heads") * s.mixer("head_dim")
    return base(s) | {
        "num_heads": s.mixer("num_heads"), "head_dim": s.mixer("head_dim"),
        "state_size": s.mixer("state_size"), "n_groups": s.mixer("n_groups"),
        "conv_kernel": s.mixer("conv_kernel"), "expand": inner // s.spec.hidden_size,
        "use_conv_bias": s.mixer("conv_bias"), "use_bias": s.mixer("proj_bias"),
    }  # fmt: skip


def jamba(s: Stack) -> Values:
    return base(s) | heads(s, head_dim=False) | dense(s) | {
        "attn_layer_period": s.interval(s.where("attention")),
        "expert_layer_period": s.interval(s.where("ffn", kind="moe")),
        "num_experts": s.expert("num_experts"),
        "num_experts_per_tok": s.expert("num_experts_per_tok"),
        "mamba_d_state": s.mixer("state_size"), "mamba_d_conv": s.mixer("conv_kernel"),
        "mamba_expand": s.mixer("intermediate_size") // s.spec.hidden_size,
        "mamba_dt_rank": s.mixer("time_step_rank"), "mamba_conv_bias": s.mixer("conv_bias"),
        "mamba_proj_bias": s.mixer("proj_bias"), "use_mamba_kernels": False,
    }  # fmt: skip


def nemotron_h(s: Stack) -> Values:
    def kind(block: Block) -> str:
        if block.recurrent is not None:
            return "mamba"
        if block.attention is not None:
            return "attention"
        return "moe" if block.ffn is not None and block.ffn.kind == "moe" else "mlp"

    values = base(s) | heads(s) | dense(s) | {
        "layers_block_type": [kind(block) for block in s.blocks],
        "mamba_num_heads": s.mixer("num_heads"), "mamba_head_dim": s.mixer("head_dim"),
        "ssm_state_size": s.mixer("state_size"), "n_groups": s.mixer("n_groups"),
        "conv_kernel": s.mixer("conv_kernel"), "use_conv_bias": s.mixer("conv_bias"),
        "use_bias": s.mixer("proj_bias"), "attention_bias": s.bias(),
    }  # fmt: skip
    if s.experts:
        values |= moe(s, experts="n_routed_experts") | {
            "n_shared_experts": 1, "n_group": 1, "topk_group": 1,
            "moe_shared_expert_intermediate_size": s.expert("shared_expert_intermediate_size"),
            "moe_latent_size": s.expert("latent_size"),
        }  # fmt: skip
        values.setdefault("intermediate_size", s.expert("moe_intermediate_size"))
    return values


def falcon_h1(s: Stack) -> Values:
    inner = s.mixer("num_heads") * s.mixer("head_dim")
    fields = {key: value for key, value in mamba2_fields(s).items() if "expand" not in key}
    return base(s) | heads(s) | dense(s) | fields | {
        "mamba_d_ssm": inner, "attention_bias": s.bias(), "mamba_rms_norm": s.mixer("gated_norm"),
    }  # fmt: skip


def zamba2(s: Stack) -> Values:
    spec = s.spec
    shared = [block for block in s.blocks if block.share_weights]
    adapter = s.one(shared, "adapter")
    # A use of a shared block stands before the Mamba layer that transformers puts it into.
    hybrid, mamba_layers = [], 0
    for block in s.blocks:
        if block.share_weights:
            hybrid.append(mamba_layers)
        else:
            mamba_layers += 1
    layers = ["hybrid" if index in hybrid else "mamba" for index in range(mamba_layers)]
    inner = s.mixer("num_heads") * s.mixer("head_dim")
    return base(s) | dense(s) | {
        "num_hidden_layers": mamba_layers, "layers_block_type": layers,
        "num_attention_heads": s.attention("num_attention_heads"),
        "num_key_value_heads": s.attention("num_key_value_heads"),
        "mamba_d_state": s.mixer("state_size"), "mamba_d_conv": s.mixer("conv_kernel"),
        "mamba_expand": inner // spec.hidden_size, "mamba_ngroups": s.mixer("n_groups"),
        "n_mamba_heads": s.mixer("num_heads"), "mamba_headdim": s.mixer("head_dim"),
        "adapter_rank": adapter.adapter_rank,
        "num_mem_blocks": len({name for name, block in spec.blocks.items() if block.share_weights}),
        "use_shared_attention_adapter": bool(getattr(adapter, "attention", False)),
        "use_mem_rope": True,
    }  # fmt: skip


def lfm2(s: Stack) -> Values:
    values = base(s) | heads(s, head_dim=False) | dense(s) | {
        "conv_L_cache": s.mixer("conv_L_cache"), "block_auto_adjust_ff_dim": False,
        "full_attn_idxs": s.where("attention"),
    }  # fmt: skip
    return values


def lfm2_moe(s: Stack) -> Values:
    types = ["conv" if b.attention is None else "full_attention" for b in s.blocks]
    values = lfm2(s) | moe(s) | {"num_dense_layers": len(s.ffns), "layer_types": types}
    return {key: value for key, value in values.items() if key != "full_attn_idxs"}


def rwkv(s: Stack) -> Values:
    return base(s) | {
        "attention_hidden_size": s.mixer("attention_hidden_size"), "intermediate_size": s.ffn(),
    }  # fmt: skip


def xlstm(s: Stack) -> Values:
    keys = s.mixer("num_heads") * s.mixer("qk_head_dim")
    return base(s) | {
        "embedding_dim": s.spec.hidden_size, "num_blocks": s.num_layers,
        "num_heads": s.mixer("num_heads"), "use_bias": s.mixer("use_bias"),
        "qk_dim_factor": keys / s.spec.hidden_size,
        "v_dim_factor": s.mixer("num_heads") * s.mixer("v_head_dim") / s.spec.hidden_size,
        # The class rounds hidden_size * factor up to a multiple of 64, which this already is.
        "ffn_proj_factor": s.ffn() / s.spec.hidden_size,
    }  # fmt: skip


# ---------------------------------------------------------------- before Llama


def gpt2(s: Stack) -> Values:
    spec = s.spec
    return {
        "n_embd": spec.hidden_size, "vocab_size": spec.vocab_size, "n_layer": s.num_layers,
        "n_head": s.attention("num_attention_heads"), "n_inner": s.ffn(),
        "n_positions": positions(spec), "tie_word_embeddings": spec.tie_word_embeddings,
    }  # fmt: skip


def positions(spec: ModelSpec) -> int | None:
    """Rows of the position table; the longest context where there is none."""
    table = spec.embedding.positions if spec.embedding else None
    return table if table is not None else spec.max_position_embeddings


def gpt_bigcode(s: Stack) -> Values:
    return gpt2(s) | {"multi_query": s.attention("num_key_value_heads") == 1}


def gptj(s: Stack) -> Values:
    return gpt2(s) | {"rotary_dim": 64}


def gpt_neo(s: Stack) -> Values:
    spec, window = s.spec, s.window()
    return {
        "hidden_size": spec.hidden_size, "vocab_size": spec.vocab_size,
        "num_layers": s.num_layers, "num_heads": s.attention("num_attention_heads"),
        "intermediate_size": s.ffn(), "max_position_embeddings": positions(spec),
        "attention_types": [[["global", "local"], s.num_layers // 2]],
        "window_size": window or 256, "tie_word_embeddings": spec.tie_word_embeddings,
    }  # fmt: skip


def gpt_neox(s: Stack) -> Values:
    values = base(s) | {"num_attention_heads": s.attention("num_attention_heads")} | dense(s)
    return values | {"attention_bias": s.bias()}


def falcon(s: Stack) -> Values:
    kv_heads, query = s.attention("num_key_value_heads"), s.attention("num_attention_heads")
    new = 1 < kv_heads < query
    norms = {block.num_norms for block in s.blocks}
    return base(s) | {
        "num_attention_heads": query, "num_kv_heads": kv_heads, "ffn_hidden_size": s.ffn(),
        "new_decoder_architecture": new, "multi_query": kv_heads == 1, "bias": s.bias(),
        "alibi": s.bias(), "parallel_attn": new or norms == {1},
        "num_ln_in_parallel_attn": norms.pop() if new and len(norms) == 1 else None,
    }  # fmt: skip


def bloom(s: Stack) -> Values:
    spec = s.spec
    return {
        "hidden_size": spec.hidden_size, "vocab_size": spec.vocab_size, "n_layer": s.num_layers,
        "n_head": s.attention("num_attention_heads"),
        "tie_word_embeddings": spec.tie_word_embeddings,
    }  # fmt: skip


def mpt(s: Stack) -> Values:
    spec = s.spec
    return {
        "d_model": spec.hidden_size, "vocab_size": spec.vocab_size, "n_layers": s.num_layers,
        "n_heads": s.attention("num_attention_heads"), "max_seq_len": spec.max_position_embeddings,
        "expansion_ratio": s.ffn() // spec.hidden_size,
        "tie_word_embeddings": spec.tie_word_embeddings,
    }  # fmt: skip


def opt(s: Stack) -> Values:
    spec = s.spec
    embedding = spec.embedding
    values = base(s) | {
        "num_attention_heads": s.attention("num_attention_heads"), "ffn_dim": s.ffn(),
        "do_layer_norm_before": spec.final_norm, "enable_bias": s.bias(),
        "word_embed_proj_dim": (embedding.size if embedding else None) or spec.hidden_size,
    }  # fmt: skip
    # The table has two rows more than positions.
    return values | {"max_position_embeddings": (positions(spec) or 2) - 2}


# ---------------------------------------------------------------- encoders, encoder-decoders


def bert(s: Stack) -> Values:
    spec = s.spec
    embedding = needs(spec.embedding, "an embedding")
    return {
        "hidden_size": spec.hidden_size, "vocab_size": spec.vocab_size,
        "num_hidden_layers": s.num_layers, "intermediate_size": s.ffn(),
        "num_attention_heads": s.attention("num_attention_heads"),
        "max_position_embeddings": embedding.positions,
        "type_vocab_size": embedding.token_types or 0,
    }  # fmt: skip


def distilbert(s: Stack) -> Values:
    spec = s.spec
    embedding = needs(spec.embedding, "an embedding")
    return {
        "dim": spec.hidden_size, "vocab_size": spec.vocab_size, "n_layers": s.num_layers,
        "n_heads": s.attention("num_attention_heads"), "hidden_dim": s.ffn(),
        "max_position_embeddings": embedding.positions,
    }  # fmt: skip


def embedding_size(s: Stack) -> Values:
    """ALBERT and ELECTRA: embeddings narrower than the layers."""
    embedding = s.spec.embedding
    return bert(s) | {
        "embedding_size": (embedding.size if embedding else None) or s.spec.hidden_size
    }


def modernbert(s: Stack) -> Values:
    spec = s.spec
    window = s.window()
    return {
        "hidden_size": spec.hidden_size, "vocab_size": spec.vocab_size,
        "num_hidden_layers": s.num_layers, "intermediate_size": s.ffn(),
        "num_attention_heads": s.attention("num_attention_heads"),
    } | ({"local_attention": window} if window else {})  # fmt: skip


def t5(s: Stack) -> Values:
    spec = s.spec
    encoder = Stack(spec, encoder=True)
    return {
        "d_model": spec.hidden_size, "vocab_size": spec.vocab_size,
        "num_layers": encoder.num_layers, "num_decoder_layers": s.num_layers,
        "num_heads": s.attention("num_attention_heads"), "d_kv": s.attention("head_dim"),
        "d_ff": s.ffn(), "relative_attention_num_buckets": spec.relative_attention_num_buckets,
        "feed_forward_proj": "gated-gelu" if s.ffn("kind") == "gated" else "relu",
        "tie_word_embeddings": spec.tie_word_embeddings,
    }  # fmt: skip


def bart(s: Stack) -> Values:
    spec = s.spec
    encoder = Stack(spec, encoder=True)
    return {
        "d_model": spec.hidden_size, "vocab_size": spec.vocab_size,
        "encoder_layers": encoder.num_layers, "decoder_layers": s.num_layers,
        "encoder_attention_heads": encoder.attention("num_attention_heads"),
        "decoder_attention_heads": s.attention("num_attention_heads"),
        "encoder_ffn_dim": encoder.ffn(), "decoder_ffn_dim": s.ffn(),
        "max_position_embeddings": spec.max_position_embeddings,
        "tie_word_embeddings": spec.tie_word_embeddings,
    }  # fmt: skip


def whisper(s: Stack) -> Values:
    spec = s.spec
    encoder = needs(spec.encoder, "an encoder")
    stem = needs(encoder.conv_stem, "a conv_stem")
    values = bart(s)
    values.pop("max_position_embeddings")
    return values | {
        "num_mel_bins": stem.in_channels,
        "max_source_positions": encoder.positions,
        "max_target_positions": positions(spec), "pad_token_id": 0, "bos_token_id": 1,
        "eos_token_id": 2, "decoder_start_token_id": 1,
    }  # fmt: skip


# ---------------------------------------------------------------- which is which

_FORCED_TIE = (
    "transformers 5 ties the head of T5 and mT5 whatever the config says; "
    "this checkpoint has one of its own, which the twin lacks"
)
_IDENTITY_ROWS = (
    "transformers 5.23 allocates gate_up_proj for LongCat-Flash's identity experts as well, which "
    "have no weights (LongcatFlashExperts); those rows are left out of the twin's count"
)

# model_type of the spec -> (model_type of the twin, how to write its config).
_CAUSAL: dict[str, tuple[str, Callable[[Stack], Values]]] = {
    "llama": ("llama", llama),
    "apertus": ("apertus", attention_bias),
    "bamba": ("bamba", bamba),
    "bitnet": ("bitnet", attention_bias),
    "bloom": ("bloom", bloom),
    "cohere": ("cohere", cohere),
    "cohere2": ("cohere2", cohere2),
    "dbrx": ("dbrx", dbrx),
    "deepseek_v2": ("deepseek_v2", deepseek),
    "deepseek_v3": ("deepseek_v3", deepseek),
    "deepseek_v32": ("deepseek_v32", indexed),
    "deepseek_v4": ("deepseek_v4", deepseek_v4),
    "dots1": ("dots1", dots1),
    "ernie4_5": ("ernie4_5", ernie),
    "ernie4_5_moe": ("ernie4_5_moe", ernie_moe),
    "exaone4": ("exaone4", exaone4),
    "falcon": ("falcon", falcon),
    "falcon_h1": ("falcon_h1", falcon_h1),
    "falcon_mamba": ("falcon_mamba", mamba),
    "gemma": ("gemma", attention_bias),
    "gemma2": ("gemma2", gemma2),
    "gemma3_text": ("gemma3_text", gemma2),
    "gemma3n_text": ("gemma3n_text", gemma3n),
    "gemma4": ("gemma4_text", gemma4),
    "glm": ("glm", glm),
    "glm4": ("glm4", glm),
    "glm4_moe": ("glm4_moe", glm4_moe),
    "glm4_moe_lite": ("glm4_moe_lite", deepseek),
    "glm_moe_dsa": ("glm_moe_dsa", indexed),
    "gpt2": ("gpt2", gpt2),
    "gpt_bigcode": ("gpt_bigcode", gpt_bigcode),
    "gpt_neo": ("gpt_neo", gpt_neo),
    "gpt_neox": ("gpt_neox", gpt_neox),
    "gpt_oss": ("gpt_oss", gpt_oss),
    "gptj": ("gptj", gptj),
    "granite": ("granite", granite),
    "granitemoe": ("granitemoe", granitemoe),
    "granitemoehybrid": ("granitemoehybrid", granitemoehybrid),
    "hunyuan_v1_dense": ("hunyuan_v1_dense", hunyuan_dense),
    "hunyuan_v1_moe": ("hunyuan_v1_moe", hunyuan_moe),
    "internlm3": ("internlm3", internlm3),
    "jamba": ("jamba", jamba),
    "kimi_k2": ("deepseek_v3", deepseek),
    "kimi_k25": ("deepseek_v3", deepseek),
    "kimi_linear": ("kimi_linear", kimi_linear),
    "lfm2": ("lfm2", lfm2),
    "lfm2_moe": ("lfm2_moe", lfm2_moe),
    "llama4": ("llama4_text", llama4),
    "longcat_flash": ("longcat_flash", longcat),
    "mamba": ("mamba", mamba),
    "mamba2": ("mamba2", mamba2),
    "mimo_v2_flash": ("mimo_v2_flash", mimo),
    "minicpm3": ("minicpm3", minicpm3),
    "minimax": ("minimax", minimax),
    "minimax_m2": ("minimax_m2", minimax_m2),
    "minimax_m3_vl": ("minimax_m3_vl_text", minimax_m3),
    "ministral3": ("ministral3", windowed),
    "mistral": ("mistral", windowed),
    "mistral4": ("mistral4", deepseek),
    "mixtral": ("mixtral", mixtral),
    "mpt": ("mpt", mpt),
    "nemotron": ("nemotron", nemotron),
    "nemotron_h": ("nemotron_h", nemotron_h),
    "olmo": ("olmo", olmo),
    "olmo2": ("olmo2", olmo),
    "olmo3": ("olmo3", olmo3),
    "olmoe": ("olmoe", olmoe),
    "opt": ("opt", opt),
    "phi": ("phi", phi),
    "phi3": ("phi3", phi3),
    "phimoe": ("phimoe", phimoe),
    "qwen2": ("qwen2", qwen2),
    "qwen2_moe": ("qwen2_moe", qwen2_moe),
    "qwen3": ("qwen3", qwen3),
    "qwen3_5": ("qwen3_5_text", qwen3_5),
    "qwen3_5_moe": ("qwen3_5_moe_text", qwen3_next),
    "qwen3_moe": ("qwen3_moe", qwen3_moe),
    "qwen3_next": ("qwen3_next", qwen3_next),
    "recurrent_gemma": ("recurrent_gemma", recurrent_gemma),
    "rwkv": ("rwkv", rwkv),
    "seed_oss": ("seed_oss", seed_oss),
    "smollm3": ("smollm3", smollm3),
    "stablelm": ("stablelm", stablelm),
    "starcoder2": ("starcoder2", starcoder2),
    "xlstm": ("xlstm", xlstm),
    "zamba2": ("zamba2", zamba2),
}
_ENCODERS: dict[str, tuple[str, Callable[[Stack], Values]]] = {
    "albert": ("albert", embedding_size),
    "bert": ("bert", bert),
    "distilbert": ("distilbert", distilbert),
    "electra": ("electra", embedding_size),
    "modernbert": ("modernbert", modernbert),
    "roberta": ("roberta", bert),
    "xlm-roberta": ("xlm-roberta", bert),
}
_SEQ2SEQ: dict[str, tuple[str, Callable[[Stack], Values]]] = {
    "bart": ("bart", bart),
    "m2m_100": ("m2m_100", bart),
    "mbart": ("mbart", bart),
    "mt5": ("mt5", t5),
    "pegasus": ("pegasus", bart),
    "t5": ("t5", t5),
    "whisper": ("whisper", whisper),
}
_KINDS = {"causal": _CAUSAL, "base": _ENCODERS, "seq2seq": _SEQ2SEQ}

# model types that are in a repository's own code only.
NO_TWIN = {
    "hunyuan": "Hunyuan-Large is remote code; transformers has hunyuan_v1_dense and hunyuan_v1_moe",
    "kimi_k3": "Kimi-K3 is remote code",
    "ouro": "Ouro is remote code",
    "rwkv6": "RWKV-6 is remote code",
    "rwkv7": "RWKV-7 is remote code",
    "step3_vl": "Step-3 is remote code",
    "step3p7": "its config states heads per layer kind in a way that kvcalc does not write",
}
# Types whose config lists its layers one by one: nothing but the spec says which is which.
_LISTED = {
    "bamba": "attn_layer_indices", "deepseek_v4": "layer_types", "gemma4": "layer_types",
    "glm_moe_dsa": "indexer_types", "granitemoehybrid": "layer_types", "kimi_linear":
    "linear_attn_config", "lfm2": "full_attn_idxs", "lfm2_moe": "layer_types", "nemotron_h":
    "layers_block_type", "zamba2": "layers_block_type",
}  # fmt: skip


def twin_of(spec: ModelSpec) -> Twin:
    """The transformers model of a spec. Raises UnsupportedError, with the reason, without one."""
    model_type = spec.model_type
    if model_type is None:
        raise UnsupportedError(f"{spec.name}: the spec names no model_type, so it has no twin")
    if model_type in NO_TWIN:
        raise UnsupportedError(f"{spec.name}: {NO_TWIN[model_type]}")
    for kind, table in _KINDS.items():
        if model_type not in table:
            continue
        own, write = table[model_type]
        difference, built = "", spec
        if model_type in ("t5", "mt5") and spec.tie_word_embeddings is False:
            difference, built = _FORCED_TIE, replace(spec, tie_word_embeddings=True)
        elif model_type == "longcat_flash":
            difference = _IDENTITY_ROWS
        listed = None if spec.name in PUBLISHED else _LISTED.get(model_type)
        unconfirmed = (f"{listed}: the order of layers is the spec's own",) if listed else ()
        return Twin(
            model_type=own, kind=kind, values=write(Stack(spec)), spec=built,
            difference=difference, unconfirmed=unconfirmed,
        )  # fmt: skip
    raise UnsupportedError(
        f"{spec.name}: kvcalc does not write configs of model_type '{model_type}' yet; "
        f"it writes {len(_CAUSAL) + len(_ENCODERS) + len(_SEQ2SEQ)} others"
    )
