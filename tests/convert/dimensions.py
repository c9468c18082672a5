"""The sizes of one draw, and keys of several types whose values have to agree with each other."""

import random
from typing import Any

Draw = dict[str, Any]


def _heads(rng: random.Random) -> tuple[int, int]:
    """Query heads and KV heads that divide them."""
    return rng.choice([(2, 1), (2, 2), (4, 1), (4, 2), (4, 4), (6, 2), (6, 3), (8, 2), (8, 4)])


class Dimensions:
    """The sizes that fields of one draw have to agree on."""

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng
        self.heads, self.kv_heads = _heads(rng)
        self.head_dim = rng.choice([8, 16, 24])
        self.hidden = self.heads * rng.choice([8, 16, 24])
        self.layers = rng.randint(3, 7)
        self.experts = rng.choice([4, 8, 6])

    def even(self, low: int, high: int) -> int:
        return 2 * self.rng.randint(low // 2, high // 2)

    def flag(self) -> bool:
        return self.rng.random() < 0.5

    def maybe(self, value: Any) -> Any:
        return value if self.flag() else None

    def kinds(self, *words: str) -> list[str]:
        """A kind for every layer, each word at least once."""
        found = [*words, *(self.rng.choice(words) for _ in range(self.layers - len(words)))]
        self.rng.shuffle(found)
        return found[: self.layers]


# A key that the draw leaves out, and one that it holds with null.
DROP: Any = object()
NULL: Any = object()


def nothing(d: Dimensions) -> Draw:
    return {}


def sliding(d: Dimensions) -> Draw:
    """Half of the draws say which layers slide, half leave it to the class."""
    return {"layer_types": d.maybe(d.kinds("full_attention", "sliding_attention"))}


def sections(d: Dimensions) -> Draw:
    """Rotary sections of time, height and width for each kind of layer."""
    eighth = d.hidden // d.heads // 8
    rope = {"rope_type": "default", "rope_theta": 10000.0,
            "mrope_section": [2 * eighth, eighth, eighth]}  # fmt: skip
    return {"full_attention": rope, "sliding_attention": rope}


def per_tok(d: Dimensions) -> Draw:
    return {"num_experts_per_tok": d.rng.randint(1, 3)}


def square(d: Dimensions) -> Draw:
    return {"head_dim": d.hidden // d.heads}


def mlp_types(d: Dimensions) -> Draw:
    return {"mlp_layer_types": d.maybe(d.kinds("dense", "sparse"))}


def both(*parts: Any) -> Any:
    def joined(d: Dimensions) -> Draw:
        found: Draw = {}
        for part in parts:
            found.update(part(d) if callable(part) else part)
        return found

    return joined


def pairs(d: Dimensions) -> Draw:
    heads, kv = d.rng.choice([(4, 2), (4, 4), (8, 4)])
    return {"num_attention_heads": heads, "num_key_value_heads": kv, "hidden_size": heads * 16}


def internlm3(d: Dimensions) -> Draw:
    bias = d.flag()
    return {"attention_bias": bias, "mlp_bias": bias}


def gemma3n(d: Dimensions) -> Draw:
    layers = d.rng.randint(6, 9)
    shared = d.rng.randint(0, layers - 5)
    return {
        "num_hidden_layers": layers, "layer_types": None, "num_kv_shared_layers": shared,
        "intermediate_size": d.maybe([16 + 2 * i for i in range(layers)]) or 24,
        "vocab_size_per_layer_input": 95, "hidden_size_per_layer_input": 8,
        "altup_num_inputs": d.rng.randint(2, 4), "laurel_rank": d.rng.randint(3, 6),
    }  # fmt: skip


def gemma4(d: Dimensions) -> Draw:
    layers = d.rng.randint(7, 9)
    moe = d.flag()
    return {
        "num_hidden_layers": layers, "layer_types": None,
        "num_kv_shared_layers": d.rng.randint(0, layers - 6),
        "vocab_size_per_layer_input": 95, "hidden_size_per_layer_input": d.rng.choice([0, 8]),
        "global_head_dim": 32, "attention_k_eq_v": d.flag(), "use_double_wide_mlp": d.flag(),
        "num_global_key_value_heads": d.maybe(1), "enable_moe_block": moe,
        "num_experts": 4 if moe else None, "top_k_experts": 2 if moe else None,
        "moe_intermediate_size": 12 if moe else None,
    }  # fmt: skip


def mamba2_heads(names: tuple[str, str, str, str, str], d: Dimensions) -> Draw:
    heads, dim, groups, state, expand = names
    hidden = d.rng.choice([32, 64])
    return {
        "hidden_size": hidden, "num_attention_heads": 4, "num_key_value_heads": d.rng.choice([1, 2, 4]),
        heads: 8, dim: hidden * 2 // 8, groups: d.rng.choice([1, 2, 4]), state: d.rng.choice([8, 16]),
        expand: 2,
    }  # fmt: skip


_BAMBA = ("mamba_n_heads", "mamba_d_head", "mamba_n_groups", "mamba_d_state", "mamba_expand")


def bamba(d: Dimensions) -> Draw:
    return mamba2_heads(_BAMBA, d)


def gemma4_unified(d: Dimensions) -> Draw:
    layers = d.rng.randint(7, 9)
    return {
        "num_hidden_layers": layers, "layer_types": None,
        "num_kv_shared_layers": d.rng.randint(0, layers - 6), "global_head_dim": 32,
        "attention_k_eq_v": d.flag(), "use_double_wide_mlp": d.flag(),
        "num_global_key_value_heads": d.maybe(1),
    }  # fmt: skip


def t5gemma(d: Dimensions) -> Draw:
    def side(hidden: int) -> Draw:
        return {
            "hidden_size": hidden, "intermediate_size": d.even(16, 48), "num_hidden_layers": 3,
            "num_attention_heads": 4, "num_key_value_heads": d.rng.choice([1, 2, 4]),
            "head_dim": 8, "sliding_window": 7, "vocab_size": 70, "pad_token_id": 0,
            "max_position_embeddings": 50, "attention_bias": d.flag(),
        }  # fmt: skip

    return {"encoder": side(32), "decoder": side(d.rng.choice([32, 48])), "vocab_size": 70}


def nemotron_h(d: Dimensions) -> Draw:
    words = ("linear_attention", "full_attention", "mlp", "moe")
    order = [*words, *(d.rng.choice(words) for _ in range(4))]
    d.rng.shuffle(order)
    how: Draw = {"layers_block_type": order, "hybrid_override_pattern": DROP}
    if d.flag():
        letters = dict(zip(words, "M*-E", strict=True))
        how = {"hybrid_override_pattern": "".join(letters[word] for word in order)}
    return {
        "num_hidden_layers": len(order), "mamba_num_heads": 8, "mamba_head_dim": d.rng.choice([4, 8]),
        "ssm_state_size": 8, "n_groups": d.rng.choice([1, 2, 4]), "conv_kernel": 4,
        "moe_latent_size": d.maybe(12), "attention_bias": False, "mlp_bias": False,
        "sliding_window": DROP, "tie_word_embeddings": False, **how,
    }  # fmt: skip


def zamba2(d: Dimensions) -> Draw:
    order = [
        "linear_attention",
        *d.kinds("linear_attention", "hybrid"),
        "hybrid",
        "linear_attention",
    ]
    return {
        "num_hidden_layers": len(order), "layers_block_type": order, "n_mamba_heads": 4,
        "mamba_d_state": 8, "mamba_ngroups": d.rng.choice([1, 2]), "mamba_expand": 2,
        "adapter_rank": d.rng.randint(2, 6), "num_mem_blocks": d.rng.choice([1, 2]),
        "use_shared_attention_adapter": d.flag(), "use_conv_bias": True, "add_bias_linear": d.flag(),
        "num_key_value_heads": d.heads, "tie_word_embeddings": True,
    }  # fmt: skip
