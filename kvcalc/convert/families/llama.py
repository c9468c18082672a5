"""Llama and the dense decoders that differ from it in a bias, a norm or a window.

Source: transformers 5.23, models/<model_type>/modeling_<model_type>.py of each function's types.
"""

from kvcalc.convert.config import Config
from kvcalc.convert.parts import QKV, decoder, dense, every, gated, same_width, softmax, windowed
from kvcalc.frozen import changed
from kvcalc.spec.model import Block, Embedding, ModelSpec


def llama(c: Config) -> ModelSpec:
    """RMSNorm, gated feed-forward, biases where the config says so."""
    attention = softmax(c, bias=c.flag("attention_bias"))
    return decoder(c, Block(attention=attention, ffn=gated(c, bias=c.flag("mlp_bias"))))


def internlm3(c: Config) -> ModelSpec:
    """One switch for all biases: a file that sets one of the two alone is no model of this class."""
    if c.flag("attention_bias") != c.flag("mlp_bias"):
        c.wrong(
            "mlp_bias", "InternLM3 has its biases in attention and feed-forward layers, or in none"
        )
    return llama(c)


def no_bias(c: Config) -> ModelSpec:
    """Llama without any bias."""
    return decoder(c, Block(attention=softmax(c), ffn=gated(c)))


def window_everywhere(c: Config) -> ModelSpec:
    """Mistral: no biases; ``sliding_window`` holds for every layer."""
    window = c.maybe("sliding_window")
    return decoder(c, Block(attention=softmax(c, sliding_window=window), ffn=gated(c)))


def ministral(c: Config) -> ModelSpec:
    """No biases; ``layer_types`` says which layers have the window."""
    window = c.maybe("sliding_window")
    usual = "global" if window is None else "local"
    return decoder(c, windowed(
        c, lambda w: softmax(c, sliding_window=w), lambda a: Block(attention=a, ffn=gated(c)),
        lambda: [usual] * c.num_layers, window=window,
    ))  # fmt: skip


def helium(c: Config) -> ModelSpec:
    """The output projection never has a bias, and is square."""
    same_width(c)
    attention = softmax(c, bias=QKV if c.flag("attention_bias") else ())
    return decoder(c, Block(attention=attention, ffn=gated(c, bias=c.flag("mlp_bias"))))


def attention_bias(c: Config) -> ModelSpec:
    """A switch for the attention's biases only."""
    return decoder(c, Block(attention=softmax(c, bias=c.flag("attention_bias")), ffn=gated(c)))


def use_bias(c: Config) -> ModelSpec:
    """Ernie 4.5: one switch for all biases."""
    bias = c.flag("use_bias")
    c.skip("compression_ratio", "freq_allocation", "weight_share_add_bias")
    return decoder(c, Block(attention=softmax(c, bias=bias), ffn=gated(c, bias=bias)))


def seed_oss(c: Config) -> ModelSpec:
    """The output projection's bias has a switch of its own."""
    bias = (QKV if c.flag("attention_bias") else ()) + (
        ("o",) if c.flag("attention_out_bias") else ()
    )
    return decoder(c, Block(attention=softmax(c, bias=bias), ffn=gated(c, bias=c.flag("mlp_bias"))))


def smollm3(c: Config) -> ModelSpec:
    """NoPE layers have the window when there is one (``no_rope_layers``)."""
    window = c.maybe("sliding_window") if c.flag("use_sliding_window") else None
    # The published config states max_window_layers, which the class does not read.
    c.skip("sliding_window", "no_rope_layers", "no_rope_layer_interval", "max_window_layers")

    def pattern() -> list[str]:
        interval = c.number("no_rope_layer_interval", 4)
        rope = c.numbers("no_rope_layers", c.num_layers, None) or [
            int((index + 1) % interval != 0) for index in range(c.num_layers)
        ]
        return ["local" if window is not None and not rotary else "global" for rotary in rope]

    ffn = gated(c, bias=c.flag("mlp_bias"))
    bias = c.flag("attention_bias")
    return decoder(c, windowed(
        c, lambda w: softmax(c, bias=bias, sliding_window=w), lambda a: Block(attention=a, ffn=ffn),
        pattern, window=window,
    ))  # fmt: skip


def cwm(c: Config) -> ModelSpec:
    """No attention biases; every fourth layer from the first sees everything."""
    ffn = gated(c, bias=c.flag("mlp_bias"))
    return decoder(c, windowed(
        c, lambda w: softmax(c, sliding_window=w), lambda a: Block(attention=a, ffn=ffn),
        lambda: ["local" if index % 4 else "global" for index in range(c.num_layers)],
        window=c.maybe("sliding_window"),
    ))  # fmt: skip


def exaone4(c: Config) -> ModelSpec:
    """Norms after each sublayer, QK-norm; three sliding layers, then one that sees everything."""
    window = c.maybe("sliding_window")
    c.skip("sliding_window_pattern")

    def pattern() -> list[str]:
        if window is None:
            c.wrong(
                "layer_types", "required without a sliding_window: the class makes it of the window"
            )
        stated = c.value("sliding_window_pattern", 4)
        if isinstance(stated, str):
            # EXAONE 4.0 published its pattern as letters: LLLG.
            if not stated or set(stated) - {"L", "G"}:
                c.wrong("sliding_window_pattern", f"expected letters L and G, found '{stated}'")
            return every(len(stated), c.num_layers)
        return every(c.number("sliding_window_pattern", 4), c.num_layers)

    return decoder(c, windowed(
        c, lambda w: softmax(c, qk_norm="per_head", sliding_window=w),
        lambda a: Block(attention=a, ffn=gated(c), norm_position="post"), pattern, window=window,
    ))  # fmt: skip


def arcee(c: Config) -> ModelSpec:
    """Two matrices and squared ReLU in the feed-forward layer."""
    attention = softmax(c, bias=c.flag("attention_bias"))
    return decoder(c, Block(attention=attention, ffn=dense(c, bias=c.flag("mlp_bias"))))


def apertus(c: Config) -> ModelSpec:
    """QK-norm, and xIELU, which learns two scalars a layer."""
    c.agree("qk_norm", True)
    c.agree("post_norm", False)
    c.fixed("mlp_bias", False, what="biases in the feed-forward layer")
    attention = softmax(c, bias=c.flag("attention_bias"), qk_norm="per_head")
    xielu = c.word("hidden_act", "xielu") == "xielu"
    return decoder(c, Block(attention=attention, ffn=dense(c, xielu=xielu)))


def apertus1p5(c: Config) -> ModelSpec:
    """Apertus whose head may lack the rows of images and sound: ``output_vocab_size``."""
    spec = apertus(c)
    rows = c.maybe("output_vocab_size")
    if rows is not None and rows > spec.vocab_size:
        c.wrong("output_vocab_size", f"a head of {rows} rows for {spec.vocab_size} tokens")
    if rows is None or rows == spec.vocab_size or spec.tie_word_embeddings:
        # A head that is tied to the token table has all its rows.
        return spec
    extra = Embedding(extra_rows=spec.vocab_size - rows)
    return changed(spec, vocab_size=rows, embedding=extra)


def bitnet(c: Config) -> ModelSpec:
    """A norm before each output projection: one of hidden_size, one of intermediate_size."""
    attention = softmax(c, bias=c.flag("attention_bias"))
    return decoder(c, Block(attention=attention, ffn=gated(c, sub_norm=True), norms=3))


def jais2(c: Config) -> ModelSpec:
    """LayerNorm and two matrices in the feed-forward layer."""
    attention = softmax(c, bias=c.flag("attention_bias"))
    ffn = dense(c, bias=c.flag("mlp_bias"))
    return decoder(c, Block(attention=attention, ffn=ffn), norm="layernorm")


def nanochat(c: Config) -> ModelSpec:
    """No norm has weights; squared ReLU."""
    attention = softmax(c, bias=c.flag("attention_bias"), qk_norm="l2")
    return decoder(c, Block(attention=attention, ffn=dense(c)), norm="none")


def hyperclovax(c: Config) -> ModelSpec:
    """Two more norms a layer where ``use_post_norm`` is set."""
    attention = softmax(c, bias=c.flag("attention_bias"))
    ffn = gated(c, bias=c.flag("mlp_bias"))
    norms = 4 if c.flag("use_post_norm") else 2
    return decoder(c, Block(attention=attention, ffn=ffn, norms=norms))


def nemotron(c: Config) -> ModelSpec:
    """LayerNorm; squared ReLU between two matrices."""
    attention = softmax(c, bias=c.flag("attention_bias"))
    ffn = dense(c, bias=c.flag("mlp_bias"))
    return decoder(c, Block(attention=attention, ffn=ffn), norm="layernorm")


def diffllama(c: Config) -> ModelSpec:
    """Differential attention; heads come in pairs."""
    from kvcalc.attention.differential import DifferentialAttention

    attention = DifferentialAttention(
        kind="differential", num_attention_heads=c.num_heads, num_key_value_heads=c.num_kv_heads(),
        head_dim=c.head_dim(), bias=("q", "k", "v", "o") if c.flag("attention_bias") else (),
    )  # fmt: skip
    return decoder(c, Block(attention=attention, ffn=gated(c)))


def qk_norm(c: Config) -> ModelSpec:
    """Llama with a norm over each head of Q and of K (Hunyuan, Qwen3-VL)."""
    c.agree("use_qk_norm", True)
    attention = softmax(c, bias=c.flag("attention_bias"), qk_norm="per_head")
    return decoder(c, Block(attention=attention, ffn=gated(c)))


def mllama(c: Config) -> ModelSpec:
    """Llama 3.2 Vision: some layers attend to the image in place of the text, gated and QK-normed."""
    from kvcalc.attention.cross import CrossAttention
    from kvcalc.spec.model import Embedding, Encoder

    crossing = c.numbers("cross_attention_layers", None)
    if crossing is None:
        crossing = [3, 8, 13, 18, 23, 28, 33, 38]
        c.assume("cross_attention_layers", crossing, "not in the file; transformers' default")
    head_dim = c.divide("hidden_size", c.hidden_size, c.num_heads)
    looks = CrossAttention(
        kind="cross", num_attention_heads=c.num_heads, num_key_value_heads=c.num_kv_heads(),
        head_dim=head_dim, qk_norm="per_head", gated=True,
    )  # fmt: skip
    reads = Block(attention=softmax(c, head_dim=head_dim), ffn=gated(c))
    sees = Block(cross_attention=looks, ffn=gated(c))
    tie = c.flag("tie_word_embeddings")
    if tie:
        c.refuse("tie_word_embeddings", "the token table has 8 rows more than the head")
    spec = decoder(c, [
        (("cross",), sees) if index in crossing else (("decoder",), reads)
        for index in range(c.num_layers)
    ], tie=False, embedding=Embedding(extra_rows=8))  # fmt: skip
    if not any(block.cross_attention for block in spec.blocks.values()):
        return spec
    return changed(spec, encoder=Encoder(layers=(), embedding="none", final_norm=False))


def molmo2(c: Config) -> ModelSpec:
    """QK-norm by qk_norm_type, norms before or after; rows of the token table that the head lacks."""
    from kvcalc.spec.model import Embedding

    c.skip("rope_scaling_layers")
    kind = c.word("qk_norm_type")
    if kind not in ("qwen3", "olmo"):
        c.refuse("qk_norm_type", "only qwen3 and olmo are accounted for")
    attention = softmax(c, bias=("q", "k", "v") if c.flag("attention_bias") else (),
                        qk_norm="per_head" if kind == "qwen3" else "full")  # fmt: skip
    # The class never ties them, whatever the file says.
    c.skip("tie_word_embeddings")
    rows = c.count("additional_vocab_size")
    block = Block(attention=attention, ffn=gated(c),
                  norm_position="post" if c.flag("norm_after") else "pre")  # fmt: skip
    return decoder(c, block, tie=False, embedding=Embedding(extra_rows=rows or None))


def muse_glimmer(c: Config) -> ModelSpec:
    """Four norms, gated attention, windows by ``layer_types``."""
    window, bias = c.maybe("sliding_window"), c.flag("attention_bias")
    c.skip("qk_scale_factor", "output_multiplier")
    return decoder(c, windowed(
        c, lambda w: softmax(c, bias=bias, qk_norm="l2", output_gate="separate", sliding_window=w),
        lambda a: Block(attention=a, ffn=gated(c), norms=4),
        lambda: c.missing("layer_types"), window=window,
    ))  # fmt: skip
