"""HunYuan VL: patches with learned positions, and a merger of convolutions inside the tower.

Source: transformers 5.23, models/hunyuan_vl (HunYuanVLVisionTransformer).
"""

from typing import TYPE_CHECKING

from kvcalc.convert.towers.vision import vit
from kvcalc.convert.towers.whole import Whole
from kvcalc.towers.sequence import Sequence, Step

if TYPE_CHECKING:
    from kvcalc.towers import Tower


def hunyuan_vl(whole: Whole) -> "dict[str, Tower]":
    """The first of the positions is a class token's, which no image has."""
    c = whole.part("vision_config")
    c.skip("interpolate_mode", "out_hidden_size", "img_max_token_num", "min_image_size",
           "max_vit_seq_len", "temporal_patch_size", "text_hidden_size", "num_key_value_heads")  # fmt: skip
    side = c.number("max_image_size") // c.number("patch_size")
    vision = vit(c, patch_bias=True, positions=side**2 + 1, final_norm=False)
    width, merge = vision.hidden_size, c.number("spatial_merge_size")
    # The class takes the language model's width, whatever the file says.
    text = whole.text.hidden_size
    steps = (
        Step(name="before_rms", op="norm", sizes=(width,)),
        Step(name="proj_conv", op="conv", sizes=(2 * width, width, merge, merge), bias=True),
        Step(name="proj_out", op="conv", sizes=(4 * width, 2 * width, 1, 1), bias=True),
        Step(name="mlp", sizes=(text, 4 * width), bias=True),
        Step(name="image_newline", op="tensor", sizes=(4 * width,)),
        *(
            Step(name=f"image_{each}", op="tensor", sizes=(text,))
            for each in ("begin", "end", "sep")
        ),
        Step(name="after_rms", op="norm", sizes=(text,)),
    )
    merger = Sequence(kind="sequence", component="vision", steps=steps)
    return {"vision": vision, "merger": merger}
