"""Encoders: BERT and its heirs, as their base models; hf.py adds the head for masked words.

An encoder sees its whole input at once and keeps nothing.
Source: transformers 5.23, models/<model_type>/modeling_<model_type>.py of each function's types.
"""

from dataclasses import replace
from typing import Any

from kvcalc.convert.config import Config
from kvcalc.convert.parts import (
    FULL_OR_SLIDING,
    QKVO,
    Layer,
    Side,
    decoder,
    dense,
    encoder,
    encoder_attention,
    gated,
    kinds,
    softmax,
)
from kvcalc.spec.model import Block, Embedding, LayerGroup, ModelSpec


def bert(
    c: Config, *, pooler: bool = True, positions: bool = True, bias: tuple[Side, ...] = QKVO,
    global_projections: bool = False, **fields: Any,
) -> ModelSpec:  # fmt: skip
    """Norms after the sublayers; learned positions and token types, added up and normed."""
    c.fixed("position_embedding_type", "absolute", None, what="relative positions have weights")
    # Google's own configs describe a classifier that transformers does not build.
    c.skip("pooler_fc_size", "pooler_num_attention_heads", "pooler_num_fc_layers",
           "pooler_size_per_head", "pooler_type", "directionality")  # fmt: skip
    if c.flag("add_cross_attention", False):
        c.refuse("add_cross_attention", "an encoder run as a decoder keeps a cache and has a head")
    attention = encoder_attention(c, bias=bias, global_projections=global_projections)
    block = Block(attention=attention, ffn=dense(c, bias=True), norm_position="post")
    embedding = Embedding(
        positions=c.number("max_position_embeddings") if positions else None,
        token_types=_token_types(c), norm=True, **fields.pop("embedding", {}),
    )  # fmt: skip
    return encoder(c, block, norm="layernorm", final_norm=False, pooler=pooler, embedding=embedding,
                   **fields)  # fmt: skip


def _token_types(c: Config) -> int | None:
    """Rows of the table of token types; a table without rows is none."""
    return c.count("type_vocab_size") or None


def ernie(c: Config) -> ModelSpec:
    """BERT with a table of tasks where ``use_task_id`` is set."""
    tasks = c.count("task_type_vocab_size") if c.flag("use_task_id") else 0
    c.skip("task_type_vocab_size")
    return bert(c, embedding={"task_types": tasks or None})


def longformer(c: Config) -> ModelSpec:
    """BERT with windows, and projections of their own for the tokens that see everything."""
    c.skip("attention_window", "onnx_export", "attention_mode", "ignore_attention_mask")
    return bert(c, global_projections=True)


def bert_without_pooler(c: Config) -> ModelSpec:
    """The base model ends with the last layer."""
    return bert(c, pooler=False)


def distilbert(c: Config) -> ModelSpec:
    """BERT without token types and pooler."""
    c.skip("sinusoidal_pos_embds", "tie_weights_", "type_vocab_size")
    block = Block(attention=encoder_attention(c), ffn=dense(c, c.number("hidden_dim"), bias=True),
                  norm_position="post")  # fmt: skip
    embedding = Embedding(positions=c.number("max_position_embeddings"), norm=True)
    return encoder(c, block, norm="layernorm", final_norm=False, embedding=embedding)


def electra(c: Config) -> ModelSpec:
    """Narrow embeddings with a projection, where ``embedding_size`` is not hidden_size."""
    size = c.number("embedding_size")
    narrow = size != c.hidden_size
    return bert(c, pooler=False, embedding={
        "size": size if narrow else None, "projection": "in_bias" if narrow else "none",
    })  # fmt: skip


def albert(c: Config) -> ModelSpec:
    """Few layers' weights for all layers, one group after another; narrow embeddings."""
    groups, number = c.number("num_hidden_groups"), c.num_layers
    if groups > number:
        c.refuse("num_hidden_groups", f"groups that none of {number} layers uses")
    inner = c.number("inner_group_num")
    c.fixed("position_embedding_type", "absolute", None, what="relative positions have weights")
    c.skip("net_structure_type", "down_scale_factor", "gap_size", "num_memory_blocks")
    block = Block(attention=encoder_attention(c), ffn=dense(c, bias=True), norm_position="post")
    size = c.number("embedding_size")
    spec = encoder(c, [((), block)], norm="layernorm", final_norm=False, pooler=True,
                   embedding=Embedding(
                       size=size, projection="in_bias",
                       positions=c.number("max_position_embeddings"),
                       token_types=_token_types(c), norm=True))  # fmt: skip
    passes = [index * groups // number for index in range(number)]
    return replace(spec, layers=tuple(
        LayerGroup(repeat=inner, blocks=tuple(spec.blocks), loops=passes.count(group))
        for group in range(groups)
    ))  # fmt: skip


def mpnet(c: Config) -> ModelSpec:
    """BERT without token types, with T5's relative positions."""
    block = Block(attention=encoder_attention(c), ffn=dense(c, bias=True), norm_position="post")
    return encoder(
        c, block, norm="layernorm", final_norm=False, pooler=True,
        relative_attention_num_buckets=c.number("relative_attention_num_buckets"),
        embedding=Embedding(positions=c.number("max_position_embeddings"), norm=True),
    )  # fmt: skip


def xlm_roberta_xl(c: Config) -> ModelSpec:
    """Norms before the sublayers and at the end; none after the embeddings."""
    block = Block(attention=encoder_attention(c), ffn=dense(c, bias=True))
    embedding = Embedding(positions=c.number("max_position_embeddings"),
                          token_types=_token_types(c))  # fmt: skip
    return encoder(c, block, norm="layernorm", pooler=True, embedding=embedding)


def roberta_prelayernorm(c: Config) -> ModelSpec:
    """Norms before the sublayers, at the end and after the embeddings."""
    block = Block(attention=encoder_attention(c), ffn=dense(c, bias=True))
    embedding = Embedding(positions=c.number("max_position_embeddings"),
                          token_types=_token_types(c), norm=True)  # fmt: skip
    return encoder(c, block, norm="layernorm", pooler=True, embedding=embedding)


def modernbert(c: Config) -> ModelSpec:
    """Gated feed-forward, rotary embeddings; the first layer has no norm before its attention."""
    _modernbert_rest(c)
    return encoder(
        c, lambda index: _modernbert_layer(c, index, mask="bidirectional"), norm=_norm(c),
        embedding=Embedding(norm=True),
    )  # fmt: skip


def _norm(c: Config) -> Any:
    return "layernorm" if c.flag("norm_bias") else "layernorm_no_bias"


def _modernbert_rest(c: Config) -> None:
    c.skip(
        "global_rope_theta", "local_rope_theta", "classifier_pooling", "classifier_bias",
        "classifier_activation", "decoder_bias", "deterministic_flash_attn", "sparse_prediction",
        "sparse_pred_ignore_index", "reference_compile", "repad_logits_with_grad",
        "global_attn_every_n_layers", "local_attention", "layer_types", "embedding_dropout",
        "position_embedding_type",
    )  # fmt: skip


def modernbert_decoder(c: Config) -> ModelSpec:
    """Ettin: ModernBERT's layers, causal and with windows, and a head of a matrix, a norm, a bias."""
    every, reach = c.number("global_attn_every_n_layers", 3), c.count("local_attention")
    # Half of ModernBERT's window is before the token; -1 is none.
    window = c.whole("sliding_window", c.value("sliding_window", reach // 2 or -1), least=-1)
    c.fixed("classifier_bias", False, what="a bias in the matrix before the head")
    order = kinds(c, "layer_types", FULL_OR_SLIDING, lambda: [
        "local" if index % every else "global" for index in range(c.num_layers)
    ])  # fmt: skip
    if "local" in order and window < 1:
        c.wrong("local_attention", "layer_types has sliding layers, and there is no window")
    _modernbert_rest(c)

    def layer(index: int) -> Layer:
        labels, block = _modernbert_layer(
            c, index, sliding_window=window if order[index] == "local" else None
        )
        return (*labels, order[index]), block

    return decoder(c, layer, norm=_norm(c), embedding=Embedding(norm=True), head_transform=True,
                   head_bias=c.flag("decoder_bias"))  # fmt: skip


def _modernbert_layer(c: Config, index: int, **attention: Any) -> Layer:
    """A layer; the first has no norm before its attention."""
    mixer = softmax(
        c, kv_heads=c.num_heads, head_dim=c.divide("hidden_size", c.hidden_size, c.num_heads),
        bias=c.flag("attention_bias"), **attention,
    )  # fmt: skip
    ffn = gated(c, bias=c.flag("mlp_bias"))
    label = "encoder" if index else "first"
    return (label,), Block(attention=mixer, ffn=ffn, norms=2 if index else 1)


def eurobert(c: Config) -> ModelSpec:
    """Llama's layers without a mask."""
    bias = c.flag("attention_bias")
    c.skip("classifier_pooling")
    attention = softmax(c, bias=bias, mask="bidirectional")
    return encoder(c, Block(attention=attention, ffn=gated(c, bias=c.flag("mlp_bias"))))


def bert_generation(c: Config) -> ModelSpec:
    """BERT without token types and pooler."""
    block = Block(attention=encoder_attention(c), ffn=dense(c, bias=True), norm_position="post")
    embedding = Embedding(positions=c.number("max_position_embeddings"), norm=True)
    return encoder(c, block, norm="layernorm", final_norm=False, embedding=embedding)


def big_bird(c: Config) -> ModelSpec:
    """BERT whose attention is sparse; one switch for the biases of Q, K and V."""
    c.skip("attention_type", "block_size", "num_random_blocks", "rescale_embeddings")
    return bert(c, bias=QKVO if c.flag("use_bias") else ("o",))


def rembert(c: Config) -> ModelSpec:
    """BERT with narrow embeddings, and a wider head that is not part of the base model."""
    c.skip("output_embedding_size")
    return bert(c, embedding={"size": c.number("input_embedding_size"), "projection": "in_bias"})


def megatron_bert(c: Config) -> ModelSpec:
    """Norms before the sublayers and at the end; none after the embeddings."""
    return xlm_roberta_xl(c)


def nomic_bert(c: Config) -> ModelSpec:
    """Gated feed-forward without biases, rotary embeddings, norms after the sublayers."""
    width = c.maybe("head_dim") or c.divide("hidden_size", c.hidden_size, c.num_heads)
    attention = encoder_attention(c, head_dim=width, bias=False)
    block = Block(attention=attention, ffn=gated(c), norm_position="post")
    embedding = Embedding(token_types=_token_types(c), norm=True)
    return encoder(c, block, norm="layernorm", final_norm=False, embedding=embedding)


def esm(c: Config) -> ModelSpec:
    """ESM-1b and ESM-2, of proteins: norms before the sublayers, a head of contacts in the trunk."""
    kind = c.word("position_embedding_type")
    if kind not in ("absolute", "rotary"):
        c.refuse(
            "position_embedding_type", "only learned places and rotary embeddings are accounted for"
        )
    c.fixed("is_folding_model", False, None, what="ESMFold's trunk and structure module")
    c.skip("token_dropout", "vocab_list", "esmfold_config")
    if c.flag("add_cross_attention", False):
        c.refuse("add_cross_attention", "an encoder run as a decoder keeps a cache and has a head")
    block = Block(attention=encoder_attention(c), ffn=dense(c, bias=True), norm_position="pre")
    places = c.number("max_position_embeddings") if kind == "absolute" else None
    embedding = Embedding(positions=places, norm=c.flag("emb_layer_norm_before"))
    contacts = {
        "contact_head.regression.weight": (1, c.num_layers * c.num_heads),
        "contact_head.regression.bias": (1,),
    }
    return encoder(
        c, block, norm="layernorm", pooler=True, embedding=embedding, class_tensors=contacts
    )


def gte(c: Config) -> ModelSpec:
    """Rotary embeddings, gated feed-forward whose down projection has a bias, norms after the sublayers."""
    block = Block(
        attention=encoder_attention(c), ffn=gated(c, down_bias=True), norm_position="post"
    )
    embedding = Embedding(token_types=_token_types(c), norm=True)
    return encoder(c, block, norm="layernorm", final_norm=False, embedding=embedding)


def jina_v3(c: Config) -> ModelSpec:
    """BERT with rotary embeddings in place of a position table."""
    return bert(c, positions=False)


def deberta_v2(c: Config) -> ModelSpec:
    """Disentangled attention: layers read a table of relative positions through their own projections."""
    c.skip("legacy", "pooler_dropout", "pooler_hidden_act", "pooler_hidden_size", "conv_act",
           "pos_att_type", "attention_head_size", "conv_groups")  # fmt: skip
    c.fixed("conv_kernel_size", 0, None, what="a convolution beside the first layer")
    c.fixed("embedding_size", c.hidden_size, None, what="narrow embeddings")
    c.fixed(
        "attention_head_size", None, c.hidden_size // c.num_heads, what="heads of another width"
    )
    block = Block(attention=encoder_attention(c), ffn=dense(c, bias=True), norm_position="post")
    types = c.count("type_vocab_size")
    rows = None
    if c.flag("relative_attention"):
        if not c.flag("share_att_key", False) and c.value("pos_att_type"):
            c.refuse("share_att_key", "projections of positions in every layer")
        furthest = c.number("max_relative_positions", least=-1)
        furthest = furthest if furthest >= 1 else c.number("max_position_embeddings")
        buckets = c.number("position_buckets", -1, least=-1)
        rows = 2 * (buckets if buckets > 0 else furthest)
    else:
        c.skip("share_att_key", "position_buckets", "max_relative_positions")
    norms = (c.word("norm_rel_ebd", "none") or "none").lower()
    if rows is None and "layer_norm" in norms:
        c.refuse("norm_rel_ebd", "a norm over a table of relative positions that is not there")
    biased = c.flag("position_biased_input")
    embedding = Embedding(
        positions=c.number("max_position_embeddings") if biased else None,
        token_types=types or None, relative_positions=rows,
        relative_norm=rows is not None and "layer_norm" in norms, norm=True,
    )  # fmt: skip
    return encoder(c, block, norm="layernorm", final_norm=False, embedding=embedding)
