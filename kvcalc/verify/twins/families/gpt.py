"""GPT-2 and its contemporaries, whose configs have names of their own."""

from kvcalc.verify.twins.stack import Stack
from kvcalc.verify.twins.values import Values, Writer, base, dense, positions


def gpt2(s: Stack) -> Values:
    spec = s.spec
    return {
        "n_embd": spec.hidden_size, "vocab_size": spec.vocab_size, "n_layer": s.num_layers,
        "n_head": s.attention("num_attention_heads"), "n_inner": s.ffn(),
        "n_positions": positions(spec), "tie_word_embeddings": spec.tie_word_embeddings,
    }  # fmt: skip


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


CAUSAL: dict[str, Writer] = {
    "bloom": bloom,
    "falcon": falcon,
    "gpt2": gpt2,
    "gpt_bigcode": gpt_bigcode,
    "gpt_neo": gpt_neo,
    "gpt_neox": gpt_neox,
    "gptj": gptj,
    "mpt": mpt,
    "opt": opt,
}
