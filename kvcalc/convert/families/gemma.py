"""Gemma 2 to 4 and RecurrentGemma: four norms a layer, local and global layers, shared caches.

Source: transformers 5.23, models/gemma2, gemma3, gemma3n, gemma4, vaultgemma, recurrent_gemma.
"""

from dataclasses import replace
from typing import Any

from kvcalc.convert.config import Config
from kvcalc.convert.parts import (
    FULL_OR_SLIDING,
    Layer,
    decoder,
    encoder,
    every,
    gated,
    kinds,
    moe,
    softmax,
    windowed,
)
from kvcalc.recurrent.rg_lru import RgLru
from kvcalc.spec.model import Block, ModelSpec


def _alternating(c: Config, period: int, norms: int, **attention: Any) -> ModelSpec:
    bias, window = c.flag("attention_bias"), c.maybe("sliding_window")
    c.agree("sliding_window_size", window)
    both = bool(c.value("use_bidirectional_attention", None))
    if both and c.model_type != "gemma3_text":
        c.refuse("use_bidirectional_attention", "an encoder keeps no cache")
    if both:
        # EmbeddingGemma, whose window reaches to both sides; its class is the base model.
        attention["mask"] = "bidirectional"
        window = None if window is None else window // 2 + 1
    names = c.values.get("architectures")
    headless = both and not (isinstance(names, list) and "Gemma3ForCausalLM" in names[:1])
    if headless:
        c.assumptions.append("head = none: a Gemma that sees both sides is an encoder")
    return (encoder if headless else decoder)(c, windowed(
        c, lambda w: softmax(c, bias=bias, sliding_window=w, **attention),
        lambda a: Block(attention=a, ffn=gated(c), norms=norms),
        lambda: every(period, c.num_layers), window=window,
    ))  # fmt: skip


def gemma2(c: Config) -> ModelSpec:
    """Every second layer sees everything."""
    return _alternating(c, 2, 4)


def vaultgemma(c: Config) -> ModelSpec:
    """Gemma 2 without the norms after the sublayers."""
    return _alternating(c, 2, 2)


def gemma3(c: Config) -> ModelSpec:
    """QK-norm; five local layers, then a global one, or as ``sliding_window_pattern`` says."""
    return _alternating(c, c.number("sliding_window_pattern", 6), 4, qk_norm="per_head")


def _sharing(c: Config, layers: list[str]) -> list[bool]:
    """Which layers read the K and V of an earlier one: the last ``num_kv_shared_layers``."""
    shared = c.count("num_kv_shared_layers")
    first = c.num_layers - shared
    if shared and (first < 1 or set(layers[first:]) - set(layers[:first])):
        c.wrong("num_kv_shared_layers", f"no earlier layer keeps what the last {shared} would read")
    return [index >= first for index in range(c.num_layers)]


def _share(attention: Any, source: str) -> Any:
    return replace(attention, shared_kv=source)


def gemma3n(c: Config) -> ModelSpec:
    """Gemma 3 with AltUp, LAuReL, per-layer embeddings, and caches shared by the last layers."""
    from kvcalc.stack.altup import AltUp
    from kvcalc.stack.laurel import Laurel
    from kvcalc.stack.per_layer_embeddings import PerLayerEmbeddings

    c.skip("activation_sparsity_pattern", "altup_coef_clip", "altup_correct_scale")
    layers = kinds(c, "layer_types", FULL_OR_SLIDING, lambda: every(5, c.num_layers))
    window = c.number("sliding_window")
    widths = c.value("intermediate_size")
    if isinstance(widths, list):
        widths = c.numbers("intermediate_size", c.num_layers, least=1)
    else:
        widths = [c.number("intermediate_size")] * c.num_layers
    bias = c.flag("attention_bias")
    stack: list[Layer] = []
    for kind, width, shared in zip(layers, widths or (), _sharing(c, layers), strict=True):
        attention = softmax(
            c, bias=bias, qk_norm="per_head", sliding_window=window if kind == "local" else None
        )
        if shared:
            attention = _share(attention, kind)
        labels = (
            kind,
            "shared" if shared else "",
            "" if len(set(widths or ())) == 1 else f"{width}",
        )
        stack.append((labels, Block(attention=attention, ffn=gated(c, width), norms=4)))
    spec = decoder(
        c, stack,
        altup=AltUp(
            altup_num_inputs=c.number("altup_num_inputs"),
            altup_active_idx=c.count("altup_active_idx"),
        ),
        laurel=Laurel(laurel_rank=c.number("laurel_rank")),
        per_layer_embeddings=PerLayerEmbeddings(
            vocab_size_per_layer_input=c.number("vocab_size_per_layer_input"),
            hidden_size_per_layer_input=c.number("hidden_size_per_layer_input"),
        ),
    )  # fmt: skip
    return _name_sources(spec)


def _name_sources(spec: ModelSpec) -> ModelSpec:
    """Point every sharing block at the block whose latest layer it reads, by that block's name."""
    kinds_of_block = {
        name: "local" if block.sliding_window else "global" for name, block in spec.blocks.items()
    }
    order = [name for group in spec.layers for name in group.names * group.repeat]
    owner: dict[str, str] = {}
    for name in order:
        if spec.blocks[name].shared_kv is None:
            owner[kinds_of_block[name]] = name
    blocks = {}
    for name, block in spec.blocks.items():
        if block.shared_kv is not None:
            block = replace(block, attention=_share(block.attention, owner[kinds_of_block[name]]))
        blocks[name] = block
    return replace(spec, blocks=blocks)


def _of_global_layers(
    c: Config, stated: dict[str, Any], layers: list[str]
) -> tuple[int, int | None]:
    """Head width and KV heads of the global layers by ``per_layer_config``: one table for all of them."""
    own = next(iter(stated.values()))
    # save_pretrained pads the layers' numbers: "05" beside "11".
    numbers = sorted(int(key) if key.isdecimal() else -1 for key in stated)
    if (
        numbers != [index for index, kind in enumerate(layers) if kind == "global"]
        or any(table != own for table in stated.values())
        or not isinstance(own, dict)
        or set(own) - {"head_dim", "num_key_value_heads"}
    ):
        c.refuse("per_layer_config", "not the same widths for all global layers and those alone")
    dim = c.whole(
        "per_layer_config.head_dim", own["head_dim"] if "head_dim" in own else c.head_dim()
    )
    heads = own.get("num_key_value_heads")
    return dim, None if heads is None else c.whole("per_layer_config.num_key_value_heads", heads)


def gemma4(c: Config) -> ModelSpec:
    """Wider heads in global layers, experts beside the dense layer, shared caches, per-layer embeddings."""
    from kvcalc.stack.per_layer_embeddings import PerLayerEmbeddings

    # The unified model has neither experts nor per-layer embeddings.
    unified = c.model_type == "gemma4_unified_text"
    if c.word("use_bidirectional_attention", None) == "all":
        c.refuse("use_bidirectional_attention", "an encoder keeps no cache")
    layers = kinds(c, "layer_types", FULL_OR_SLIDING, lambda: every(6, c.num_layers))
    layers[-1] = "global"
    window = c.number("sliding_window")
    bias = c.flag("attention_bias")
    k_eq_v = c.flag("attention_k_eq_v")
    global_dim = c.number("global_head_dim", 512)
    global_kv = c.maybe("num_global_key_value_heads", None) if k_eq_v else None
    c.skip("num_global_key_value_heads", "num_experts", "top_k_experts", "moe_intermediate_size")
    stated = c.values.get("per_layer_config")
    if isinstance(stated, dict) and stated:
        # What save_pretrained writes instead of both keys; a file's own keys give way to it.
        global_dim, global_kv = _of_global_layers(c, stated, layers)
    c.agree("per_layer_config", stated)
    wide = c.flag("use_double_wide_mlp")
    width = c.number("intermediate_size")
    attention = {
        "local": softmax(c, bias=bias, qk_norm="per_head", sliding_window=window),
        "global": softmax(
            c, head_dim=global_dim, kv_heads=global_kv, bias=bias, qk_norm="per_head",
            attention_k_eq_v=k_eq_v,
        ),
    }  # fmt: skip
    per_layer = 0 if unified else c.count("hidden_size_per_layer_input")
    stack: list[Layer] = []
    for kind, shared in zip(layers, _sharing(c, layers), strict=True):
        size = 2 * width if wide and shared else width
        norms = 4
        ffn: Any = gated(c, size)
        if not unified and c.flag("enable_moe_block"):
            ffn = moe(c, chosen="top_k_experts", shared=size, router_scale=True)
            norms = 7
        mixer = attention[kind]
        if shared:
            mixer = _share(mixer, kind)
        block = Block(attention=mixer, ffn=ffn, norms=norms, layer_scalar=True)
        stack.append(((kind, "shared" if shared else ""), block))
    fields: dict[str, Any] = {}
    if per_layer:
        fields["per_layer_embeddings"] = PerLayerEmbeddings(
            vocab_size_per_layer_input=c.number("vocab_size_per_layer_input"),
            hidden_size_per_layer_input=per_layer,
        )
    c.skip("vocab_size_per_layer_input")
    return _name_sources(decoder(c, stack, **fields))


def recurrent_gemma(c: Config) -> ModelSpec:
    """Two RG-LRU layers, then one of local attention; the stated inner width is that of both halves."""
    c.skip("embeddings_scale_by_sqrt_dim", "w_init_variance_scale", "final_w_init_variance_scale")
    c.agree("head_dim", c.divide("hidden_size", c.hidden_size, c.num_heads))
    c.agree("layers_block_type", kinds_of(c))
    pattern = kinds_of(c)
    heads = c.num_heads
    attention = softmax(
        c, head_dim=c.divide("hidden_size", c.hidden_size, heads),
        bias=("q", "k", "v", "o") if c.flag("attention_bias") else ("o",),
        sliding_window=c.number("attention_window_size"),
    )  # fmt: skip
    recurrent = RgLru(
        kind="rg_lru", lru_width=c.maybe("lru_width") or c.hidden_size, num_attention_heads=heads,
        conv1d_width=c.number("conv1d_width"),
    )  # fmt: skip
    ffn = gated(c, c.number("intermediate_size") // 2, bias=True)
    made = {
        "attention": Block(attention=attention, ffn=ffn),
        "recurrent": Block(recurrent=recurrent, ffn=ffn),
    }
    return decoder(c, [((kind,), made[kind]) for kind in pattern])


def kinds_of(c: Config) -> list[str]:
    """RecurrentGemma's ``block_types``, laid down again and again."""
    types = c.words("block_types") or []
    known = {"recurrent", "attention"}
    if not types or set(types) - known:
        c.refuse("block_types", "only recurrent and attention blocks are accounted for")
    return [types[index % len(types)] for index in range(c.num_layers)]
