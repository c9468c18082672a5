"""The most tokens that llama.cpp makes of one image, whatever the model's own processor would.

Its projectors set bounds of their own (tools/mtmd/clip.cpp, ``set_limit_image_tokens``), unless
``--image-max-tokens`` says otherwise: a larger image is scaled down to them first.
"""

from dataclasses import replace

from kvcalc.media.words import MediaItem

# The engines that are llama.cpp.
PROGRAMS = ("llama.cpp", "ollama", "lm-studio")
_QWEN = ("qwen2_vl", "qwen2_5_vl", "qwen3_vl", "qwen3_vl_moe", "qwen3_5", "qwen3_5_moe")
# model_type -> tokens of an image, at most.
_MOST = dict.fromkeys((*_QWEN, "glm4v", "glm4v_moe"), 4096) | {"pixtral": 1024, "kimi_vl": 1024}


def bounded(
    model_type: str | None, media: tuple[MediaItem, ...], notes: tuple[str, ...]
) -> tuple[tuple[MediaItem, ...], tuple[str, ...]]:
    """The items as llama.cpp takes them, and the notes, which name each item, with what was bounded."""
    most = _MOST.get(model_type or "")
    large = [each for each in media if each.kind == "image" and most and each.tokens > most]
    if most is None or not large:
        return media, notes
    held = tuple(replace(each, tokens=most) if each in large else each for each in media)
    said = {str(was): str(now) for was, now in zip(media, held, strict=True)}
    sizes = ", ".join(each.size for each in large)
    note = (
        f"image of {sizes}: llama.cpp scales it down to {most:,} tokens at most (clip.cpp), which are "
        "counted; --image-max-tokens of llama-server changes that"
    )
    return held, (*(said.get(each, each) for each in notes), note)
