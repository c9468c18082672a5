"""Projectors of learned queries: Idefics2's perceiver, the Q-Former of BLIP-2 and Granite Speech, Aria.

Source: transformers 5.23, models/idefics2, blip_2, instructblip, granite_speech, granite4_vision, aria.
"""

from typing import TYPE_CHECKING

from kvcalc.convert.config import Config
from kvcalc.convert.towers.vision import vision_tower
from kvcalc.convert.towers.whole import Whole
from kvcalc.towers.conformer import ConformerEncoder
from kvcalc.towers.mlp import Mlp
from kvcalc.towers.perceiver import Perceiver
from kvcalc.towers.qformer import QFormer
from kvcalc.towers.sequence import Sequence, Step

if TYPE_CHECKING:
    from kvcalc.towers import Tower

Towers = dict[str, "Tower"]


def idefics2(whole: Whole) -> Towers:
    """A gated projection of each patch, then a perceiver as wide as the language model."""
    vision, c = vision_tower(whole.part("vision_config")), whole.part("perceiver_config")
    # The class takes the language model's width, whatever the file says.
    c.skip("hidden_size")
    text, width = whole.text, whole.text.hidden_size
    inner = next(
        (block.ffn.intermediate_size for block in text.blocks.values() if block.ffn is not None
         and hasattr(block.ffn, "intermediate_size")), None,
    )  # fmt: skip
    if inner is None:
        whole.top.refuse("text_config", "the projection is as wide as a dense layer of it")
    projection = Mlp(
        kind="mlp", in_features=vision.hidden_size, gated=inner, gated_out=text.hidden_size
    )
    perceiver = Perceiver(
        kind="perceiver", hidden_size=width, num_latents=c.number("resampler_n_latents"),
        num_hidden_layers=c.number("resampler_depth"),
        num_attention_heads=c.number("resampler_n_heads"),
        num_key_value_heads=c.number("num_key_value_heads"),
        head_dim=c.number("resampler_head_dim"), intermediate_size=4 * width,
    )  # fmt: skip
    return {"vision": vision, "projection": projection, "perceiver": perceiver}


def _qformer(
    c: Config, queries: int, text: bool, read: int | None = None, own: tuple[int, int] | None = None
) -> QFormer:
    """A Q-Former's fields.

    read: what the class takes for the tower's width, whatever the file says. own: its width and heads,
    where the class sets them likewise. text: the queries read a
    text, too, which BLIP-2's config switches and InstructBLIP's does not.
    """
    vocab, positions = c.number("vocab_size"), c.number("max_position_embeddings")
    c.skip("pad_token_id", "encoder_hidden_size")
    if own is None:
        own = c.hidden_size, c.num_heads
    c.skip("hidden_size", "num_attention_heads")
    return QFormer(
        kind="qformer", hidden_size=own[0], num_hidden_layers=c.num_layers,
        num_attention_heads=own[1], intermediate_size=c.number("intermediate_size"),
        encoder_hidden_size=read or c.number("encoder_hidden_size"),
        cross_attention_frequency=c.number("cross_attention_frequency"), num_queries=queries,
        vocab_size=vocab if text else None, positions=positions if text else None,
    )  # fmt: skip


def blip_2(whole: Whole) -> Towers:
    """A ViT, the Q-Former and one layer to the language model's width."""
    top, c = whole.top, whole.part("qformer_config")
    top.skip("image_text_hidden_size")
    vision = vision_tower(whole.part("vision_config"))
    qformer = _qformer(c, top.number("num_query_tokens"), c.flag("use_qformer_text_input"),
                       vision.hidden_size)  # fmt: skip
    if qformer.vocab_size is not None:
        c.refuse("use_qformer_text_input", "only queries without a text are accounted for")
    out = Mlp(kind="mlp", in_features=qformer.hidden_size, sizes=(whole.text.hidden_size,))
    return {"vision": vision, "qformer": qformer, "projector": out}


def instructblip(whole: Whole) -> Towers:
    """The same, with a text beside the queries."""
    vision = vision_tower(whole.part("vision_config"))
    queries = whole.top.number("num_query_tokens")
    qformer = _qformer(whole.part("qformer_config"), queries, True, vision.hidden_size)
    out = Mlp(kind="mlp", in_features=qformer.hidden_size, sizes=(whole.text.hidden_size,))
    return {"vision": vision, "qformer": qformer, "projector": out}


def granite_speech(whole: Whole) -> Towers:
    """A Conformer, a Q-Former over windows of frames and one layer."""
    top, c, q = whole.top, whole.part("encoder_config"), whole.part("projector_config")
    c.skip("context_size", "cat_hidden_layers")
    heads = c.number("num_heads")
    head_dim = c.maybe("dim_head", None) or c.divide("hidden_dim", c.number("hidden_dim"), heads)
    audio = ConformerEncoder(
        kind="conformer", input_size=c.number("input_dim"), hidden_size=c.number("hidden_dim"),
        num_hidden_layers=c.number("num_layers"), num_attention_heads=heads, head_dim=head_dim,
        intermediate_size=c.number("hidden_dim") * c.number("feedforward_mult"),
        relative_positions=2 * c.number("max_pos_emb") + 1,
        conv_kernel_size=c.number("conv_kernel_size"),
        conv_expansion=c.number("conv_expansion_factor"), output_size=c.number("output_dim"),
    )  # fmt: skip
    if c.values.get("cat_hidden_layers"):
        c.refuse("cat_hidden_layers", "several layers' outputs side by side are not accounted for")
    if q.model_type != "blip_2_qformer":
        q.refuse("model_type", "only BLIP-2's Q-Former is accounted for")
    if q.flag("use_qformer_text_input"):
        q.refuse("use_qformer_text_input", "only queries without a text are accounted for")
    queries = top.number("window_size") // top.number("downsample_rate")
    qformer = _qformer(q, queries, False)
    out = Mlp(kind="mlp", in_features=qformer.hidden_size, sizes=(whole.text.hidden_size,))
    return {"audio": audio, "qformer": qformer, "projector": out}


# Granite 4 Vision's class makes so many projectors of shifted samples, whatever the file says.
_SHIFTED = 4


def granite4_vision(whole: Whole) -> Towers:
    """Windows of patches read by a few queries: a Q-Former for each layer read early, and four shifted."""
    top, c, q = whole.top, whole.part("vision_config"), whole.part("qformer_config")
    vision, text = vision_tower(c), whole.text.hidden_size
    pairs = top.listed("deepstack_layer_map")
    rate = top.word("downsample_rate")
    if pairs is None or rate is None:
        top.refuse(
            "downsample_rate", "the class is built with downsample_rate and deepstack_layer_map"
        )
    side, _, window = rate.partition("/")
    if not (
        side.isdecimal() and window.isdecimal() and len(rate) < 9 and int(side) and int(window)
    ):
        top.wrong("downsample_rate", f"expected a word such as 4/8, found {rate!r}")
    if q.model_type != "blip_2_qformer" or q.flag("use_qformer_text_input"):
        q.refuse("use_qformer_text_input", "only queries without a text are accounted for")
    # The class makes the queries as wide as the tower, with heads of 64, whatever the file says.
    width = vision.hidden_size
    qformer = _qformer(q, int(side) ** 2, False, width, (width, width // 64 or 1))
    ends = Sequence(kind="sequence", steps=(
        Step(name="norm", op="norm", sizes=(width,), bias=True),
        Step(name="image_positions", op="tensor", sizes=(1, int(window) ** 2, width)),
        Step(name="out_linear", sizes=(text, width), bias=True),
    ), copies=len(pairs) + _SHIFTED)  # fmt: skip
    newline = Step(name="image_newline", op="tensor", sizes=(text,))
    names = [f"layer_{index}" for index in range(len(pairs))]
    names += [f"shifted_{index}" for index in range(_SHIFTED)]
    return {
        "vision": vision,
        "newline": Sequence(kind="sequence", steps=(newline,)),
        **dict.fromkeys(names, qformer),
        "projectors": ends,
    }


def _most_queries(top: Config) -> int:
    """The most queries that an image may have, by its patches: patches -> queries."""
    table = top.value("projector_patch_to_query_dict", None) or {"1225": 128, "4900": 256}
    if not isinstance(table, dict):
        top.wrong("projector_patch_to_query_dict", "expected an object")
    key = "projector_patch_to_query_dict"
    return max(top.whole(key, value) for value in table.values())


def aria(whole: Whole) -> Towers:
    """Queries that attend once to the patches, by two attentions inside each other, and two layers."""
    vision, text = vision_tower(whole.part("vision_config")), whole.text.hidden_size
    d, queries = vision.hidden_size, _most_queries(whole.top)
    square = [Step(name=f"cross_attn.{side}_proj", sizes=(d, d)) for side in ("q", "k", "v")]
    projector = Sequence(kind="sequence", steps=(
        Step(name="query", op="tensor", sizes=(queries, d)),
        *square,
        Step(name="cross_attn.multihead_attn.in_proj", sizes=(3 * d, d), bias=True),
        Step(name="cross_attn.multihead_attn.out_proj", sizes=(d, d), bias=True),
        Step(name="cross_attn.linear", sizes=(d, d), bias=True),
        Step(name="cross_attn.layer_norm", op="norm", sizes=(d,), bias=True),
        Step(name="cross_attn.layer_norm_kv", op="norm", sizes=(d,), bias=True),
        Step(name="layer_norm", op="norm", sizes=(d,), bias=True),
        Step(name="feed_forward.linear_in", sizes=(text, d)),
        Step(name="feed_forward.linear_out", sizes=(text, text)),
    ))  # fmt: skip
    return {"vision": vision, "projector": projector}
