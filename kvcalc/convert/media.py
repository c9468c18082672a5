"""What a model makes of images and sound: the rule that its files, or its type, name.

A folder or a config.json says which tower there is, and ``preprocessor_config.json`` (or
``processor_config.json``) beside it how the processor is set. A shipped spec has neither: its type names
the processor, whose class's own settings are taken, and the answer says so.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from kvcalc.convert.config_file import read_json
from kvcalc.errors import UnsupportedError, UsageError
from kvcalc.media import asked
from kvcalc.media.asked import MediaWords
from kvcalc.media.families import image_rule
from kvcalc.media.sounds import audio_rule
from kvcalc.media.source import Source
from kvcalc.media.words import MediaItem, Placeholders
from kvcalc.memory.workload import Asked
from kvcalc.spec.model import ModelSpec

# The model_type of a decoder that ships with its tower left out -> that of the whole model.
_WHOLE = {
    "gemma3_text": "gemma3", "gemma3n_text": "gemma3n", "gemma4": "gemma4", "llama4": "llama4",
    "mllama": "mllama", "minimax_m3_vl": "minimax_m3_vl", "qwen3_5": "qwen3_5",
    "qwen3_5_moe": "qwen3_5_moe", "ministral3": "mistral3", "kimi_k25": "kimi_k25",
}  # fmt: skip
_TOWERS = {"image": ("vision",), "audio": ("audio", "speech")}


def with_media(asked: Asked, spec: ModelSpec, where: str) -> tuple[Asked, tuple[str, ...]]:
    """The question with the places of what is put in, and what was assumed. Raises as ``media_items``."""
    media, notes = media_items(spec, where, asked.put.images, asked.put.audio)
    largest = _largest(spec, where) if spec.towers else None
    return replace(asked, put=MediaWords(), media=media, largest_item=largest), notes


def _largest(spec: ModelSpec, where: str) -> int | None:
    """Tokens of the largest image; None for a model that sees none, or whose processor is not known."""
    model_type, source = _source(spec, where)
    try:
        rule = image_rule(model_type, source)
        return rule.placeholders(rule.largest()).tokens
    except UnsupportedError:
        return None


def media_items(
    spec: ModelSpec, where: str, images: Sequence[str], sounds: Sequence[str]
) -> tuple[tuple[MediaItem, ...], tuple[str, ...]]:
    """What is put in, with its places, and what was assumed. where: the path of the model's files.

    Raises UsageError for a model that takes no such thing, UnsupportedError where the processor is
    not known.
    """
    if not images and not sounds:
        return (), ()
    model_type, source = _source(spec, where)
    items: list[MediaItem] = []
    if images:
        _takes(spec, "image", source)
        rule = image_rule(model_type, source)
        for each in map(asked.images, images):
            size = each.size or rule.largest()
            places = _some(rule.placeholders(size), model_type)
            items.append(
                MediaItem(
                    kind="image", count=each.count, size=str(size), tokens=places.tokens,
                    separators=places.separators, encoder_tokens=getattr(rule, "encoder_tokens", 0),
                )
            )  # fmt: skip
    if sounds:
        _takes(spec, "audio", source)
        hears = audio_rule(model_type, source)
        for sound in map(asked.sounds, sounds):
            heard = hears.placeholders(int(sound.seconds * hears.sampling_rate))
            places = _some(heard, model_type)
            items.append(
                MediaItem(kind="audio", count=sound.count, size=sound.size, tokens=places.tokens,
                          separators=places.separators)
            )  # fmt: skip
    notes = [str(item) for item in items]
    if source.settings is None:
        notes.append(
            f"sizes as transformers' processor of {model_type} has them by default: the model's own "
            "preprocessor_config.json, beside its config.json, decides, and may differ much"
        )
    return tuple(items), tuple(notes)


def _some(places: Placeholders, model_type: str) -> Placeholders:
    """Refuse settings, or a sound, of which nothing is left."""
    if places.tokens < 1:
        raise UnsupportedError(f"{model_type}: its processor, set as stated, leaves no token of it")
    return places


def _source(spec: ModelSpec, where: str) -> tuple[str, Source]:
    path = Path(where)
    config = path / "config.json" if path.is_dir() else path
    if config.suffix == ".json" and config.is_file():
        values = read_json(config)
        stated = values.get("model_type")
        return str(stated or spec.model_type), Source(values, _settings(config.parent))
    model_type = spec.model_type or ""
    return _WHOLE.get(model_type, model_type), Source({}, None)


def _settings(folder: Path) -> Mapping[str, Any] | None:
    """The processor's settings that lie in a model's folder."""
    found: dict[str, Any] = {}
    for name in ("processor_config.json", "preprocessor_config.json"):
        if (folder / name).is_file():
            values = read_json(folder / name)
            for part in ("image_processor", "feature_extractor"):
                inner = values.get(part)
                if isinstance(inner, Mapping):
                    found |= inner
            found |= values
    return found or None


def _takes(spec: ModelSpec, kind: str, source: Source) -> None:
    """Refuse what the model has no tower for."""
    words = _TOWERS[kind]
    stated = any(key.startswith(words) and source.config[key] for key in source.config)
    named = any(word in part for part in spec.left_out for word in words)
    if not stated and not named:
        raise UsageError(f"{spec.name} has no tower for {'images' if kind == 'image' else 'sound'}")
