"""Encoders and encoder-decoders."""

from kvcalc.verify.twins.stack import Stack, needs
from kvcalc.verify.twins.values import Values, Writer, positions


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


BASE: dict[str, Writer] = {
    "albert": embedding_size,
    "bert": bert,
    "distilbert": distilbert,
    "electra": embedding_size,
    "modernbert": modernbert,
    "roberta": bert,
    "xlm-roberta": bert,
}
SEQ2SEQ: dict[str, Writer] = {
    "bart": bart,
    "m2m_100": bart,
    "mbart": bart,
    "mt5": t5,
    "pegasus": bart,
    "t5": t5,
    "whisper": whisper,
}
