"""Which media a server takes, as its flags say it, and the part of a model that it then loads.

``--limit-mm-per-prompt`` is read as vLLM reads it (config/multimodal.py): a number of items by modality,
or an object with ``count`` and the sizes of the profiling run's item. A limit of 0 for all modalities of a
tower leaves it out (models/interfaces.py, _mark_tower_model, since 0.16); any other limit changes what
profiling runs on, and nothing that is held.
"""

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from kvcalc.errors import UnsupportedError, UsageError
from kvcalc.frozen import changed, frozen
from kvcalc.media.source import MAX_PIXELS
from kvcalc.media.words import MediaItem
from kvcalc.spec.model import ModelSpec

MODALITIES = ("image", "video", "audio")
_SIZES: Mapping[str, tuple[str, ...]] = {
    "image": ("count", "width", "height"),
    "video": ("count", "num_frames", "width", "height"),
    "audio": ("count", "length"),
}
_LIMIT, _PROCESSOR = "--limit-mm-per-prompt", "--mm-processor-kwargs"


@frozen(kw_only=True)
class ServedMedia:
    """limits: (modality, most items of a request), as said. language_only: none at all.

    text: the same in JSON. towers_whole: each tensor rank holds the towers whole. cache_gib: of host
    memory, for items that a processor has made; None: not said. processor: bounds on an image in pixels
    that the server sets; processor_text: the same in JSON.
    """

    limits: tuple[tuple[str, int], ...] = ()
    language_only: bool = False
    text: str | None = None
    towers_whole: bool = False
    cache_gib: int | None = None
    processor: tuple[tuple[str, int], ...] = ()
    processor_text: str | None = None

    @property
    def options(self) -> dict[str, str | None]:
        """The options as they were given, None those that were not."""
        return {
            "--language-model-only": "" if self.language_only else None,
            _LIMIT: self.text,
            "--mm-encoder-tp-mode": "data" if self.towers_whole else None,
            _PROCESSOR: self.processor_text,
            "--mm-processor-cache-gb": None if self.cache_gib is None else f"{self.cache_gib}",
        }

    @property
    def said(self) -> str | None:
        """The first option that was given."""
        return next((name for name, value in self.options.items() if value is not None), None)


def served_media(given: Mapping[str, Any]) -> ServedMedia:
    """What the flags of a server say; given: flag -> value, None where not said. Raises UsageError."""
    text = _as_text(_LIMIT, given.get("limit_mm_per_prompt"))
    mode = given.get("mm_encoder_tp_mode")
    if mode not in (None, "weights", "data"):
        raise UsageError(f"--mm-encoder-tp-mode {mode}: it is weights or data")
    processor = _as_text(_PROCESSOR, given.get("mm_processor_kwargs"))
    return ServedMedia(
        processor=processor_of(processor), processor_text=processor,
        limits=limits_of(text), text=text, language_only=bool(given.get("language_model_only")),
        towers_whole=mode == "data", cache_gib=given.get("mm_processor_cache_gb"),
    )  # fmt: skip


def _as_text(option: str, value: object) -> str | None:
    """A setting as the command line has it: programs give vLLM's own objects, too."""
    if value is None or isinstance(value, str):
        return value
    if not isinstance(value, Mapping):
        raise UsageError(f"{option}: {ascii(value)[:60]} is neither JSON nor an object")
    try:
        return json.dumps(dict(value))
    except (TypeError, ValueError, RecursionError):
        raise UsageError(f"{option}: an object of numbers is needed") from None


def processor_of(text: str | None) -> tuple[tuple[str, int], ...]:
    """Bounds on an image in pixels, of ``{"min_pixels": 3136, "max_pixels": 1003520}``.

    Raises UsageError naming what is wrong, UnsupportedError for other settings.
    """
    if text is None:
        return ()
    value = _object(_PROCESSOR, text, '{"max_pixels": 1003520}')
    other = sorted(set(value) - {"min_pixels", "max_pixels"})
    if other:
        raise UnsupportedError(
            f"{_PROCESSOR}: what {other[0]} does is not known here: min_pixels and max_pixels are"
        )
    found = {key: _whole(key, number, 1, _PROCESSOR) for key, number in value.items()}
    for key, number in found.items():
        if number > MAX_PIXELS:
            raise UsageError(
                f"{_PROCESSOR}: {key} {number}: an image has at most {MAX_PIXELS:,} pixels"
            )
    least, most = found.get("min_pixels", 1), found.get("max_pixels", MAX_PIXELS)
    if least > most:
        raise UsageError(f"{_PROCESSOR}: min_pixels {least:,} is more than max_pixels {most:,}")
    return tuple(found.items())


def _object(option: str, text: str, example: str) -> dict[str, Any]:
    """An object of JSON. Raises UsageError for anything else."""
    try:
        value = json.loads(text, object_pairs_hook=lambda pairs: _once(option, pairs))
    except (ValueError, RecursionError):  # ValueError: of a number with thousands of digits, too
        value = None
    if not isinstance(value, dict) or not value:
        raise UsageError(f"{option} '{text}': write JSON such as '{example}'")
    return value


def limits_of(text: str | None) -> tuple[tuple[str, int], ...]:
    """((modality, count), ...) of ``{"image": 4, "video": {"count": 1, "num_frames": 32}}``.

    Raises UsageError naming what is wrong.
    """
    if text is None:
        return ()
    value = _object(_LIMIT, text, '{"image": 4, "video": 0}')
    found: dict[str, int] = {}
    for modality, limit in value.items():
        if modality not in MODALITIES:
            raise UsageError(f"{_LIMIT}: {modality}: a modality is one of {', '.join(MODALITIES)}")
        if isinstance(limit, dict):
            for key, size in limit.items():
                _check(modality, key, size)
            limit = limit.get("count", 999)
        found[modality] = _whole(modality, limit, 0)
    return tuple(found.items())


def _once(option: str, pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise UsageError(f"{option}: {key} is said twice")
        found[key] = value
    return found


def _check(modality: str, key: str, value: Any) -> None:
    if key not in _SIZES[modality]:
        raise UsageError(f"{_LIMIT}: {modality}.{key}: it has {', '.join(_SIZES[modality])}")
    _whole(f"{modality}.{key}", value, 0 if key == "count" else 1)


def _whole(name: str, value: Any, least: int, option: str = _LIMIT) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise UsageError(f"{option}: {name}: {value!r} is not a whole number from {least} on")
    return value


def check_items(items: Sequence[MediaItem], media: ServedMedia) -> None:
    """Raises UsageError for more items of a request than the server takes."""
    limits = dict.fromkeys(MODALITIES, 0) if media.language_only else dict(media.limits)
    for modality in MODALITIES:
        asked = sum(item.count for item in items if item.kind == modality)
        if asked > limits.get(modality, asked):
            raise UsageError(
                f"{asked} x {modality} a request, and {media.said} takes {limits[modality]}"
            )


# Modalities of the towers that vLLM's class builds for a model_type: of its vision, of its audio.
_BOTH, _IMAGE = ("image", "video"), ("image",)
_VISION: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(("qwen2_vl", "qwen2_5_vl", "qwen3_vl", "qwen3_vl_moe", "qwen3_5", "qwen3_5_moe",
                     "internvl", "llava_onevision", "glm4v", "glm_ocr", "gemma4", "muse_glimmer"), _BOTH),
    **dict.fromkeys(("gemma3", "gemma3_text", "gemma3n_text", "llama4", "llava", "llava_next", "paligemma",
                     "lfm2_vl", "idefics3", "step3_vl", "step3p7", "ministral3", "mistral4"), _IMAGE),
    **dict.fromkeys(("qwen2_audio", "voxtral"), ()),
}  # fmt: skip
# The first release that was read which leaves towers out.
_FIRST_WITHOUT = {"vLLM": "0.16", "SGLang": "0.5.18"}


def served_part(
    spec: ModelSpec, media: ServedMedia, words: str, version: str | None
) -> tuple[ModelSpec, tuple[str, ...]]:
    """The model without the towers that the server does not load, and what to say of it.

    words: the engine's; version: its release, None the newest. Raises UsageError for a model that takes no
    media, UnsupportedError where it is not known what its towers are for.
    """
    if media.said is None:
        return spec, ()
    if not spec.towers:
        raise UsageError(
            f"{media.said}: {spec.name} takes no images or sound, or its towers are not known"
        )
    dropped = set(spec.towers) if media.language_only else _dropped(spec, dict(media.limits))
    notes = tuple(_notes(media, dropped, words))
    if not dropped:
        return spec, notes
    first = _FIRST_WITHOUT[words]
    if version is not None and _number(version) < _number(first):
        raise UnsupportedError(
            f"{media.said}: before {first} {words} loads the towers all the same: that is not accounted for"
        )
    if words == "SGLang" and spec.model_type not in _LANGUAGE_ALONE:
        raise UnsupportedError(
            f"{media.said}: SGLang 0.5.23 takes it for DeepSeek-V4, Muse Glimmer and Cosmos 3 alone "
            "(server_args.py, LANGUAGE_MODEL_ONLY_ARCHITECTURES)"
        )
    kept = {name: tower for name, tower in spec.towers.items() if name not in dropped}
    rules = [
        changed(rule, tensors=names)
        for rule in spec.weight_formats
        if (names := tuple(name for name in rule.tensors if not _of(name, dropped)))
    ]
    return changed(spec, towers=kept, weight_formats=tuple(rules)), notes


_LANGUAGE_ALONE = ("muse_glimmer",)


def _number(version: str) -> tuple[int, ...]:
    return tuple(map(int, re.findall(r"\d+", version)))[:3]


def _of(tensor: str, towers: set[str]) -> bool:
    return tensor.startswith("towers.") and tensor.split(".")[1] in towers


def _dropped(spec: ModelSpec, limits: dict[str, int]) -> set[str]:
    """The towers of modalities of which a request may hold none."""
    none = {modality for modality, count in limits.items() if not count}
    if not none:
        return set()
    if spec.model_type not in _VISION:
        raise UnsupportedError(
            f"{_LIMIT}: which modalities vLLM's class of {spec.model_type} has a tower for is not known "
            "here; --language-model-only leaves out all"
        )
    vision = _VISION[spec.model_type]
    dropped = set()
    for name in spec.towers:
        of = ("audio",) if not vision or name.startswith("audio") else vision
        if none.issuperset(of):
            dropped.add(name)
    return dropped


def _notes(media: ServedMedia, dropped: set[str], words: str) -> list[str]:
    said = []
    if dropped:
        said.append(f"{media.said}: {words} does not load {', '.join(sorted(dropped))}")
    elif media.limits:
        said.append(
            f"{_LIMIT} bounds the items of a request and of the profiling run; the encoder cache has room "
            "for a step's tokens or the largest item of a kind that it takes"
        )
    if media.cache_gib is not None:
        said.append(
            f"--mm-processor-cache-gb {media.cache_gib}: GiB of host memory in each API server and each "
            "engine process, nothing of the device"
        )
    return said
