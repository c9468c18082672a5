"""What transformers builds and keeps for drawn configs, measured once: `python -m tests.convert.measured`.

Every type's draws are built on the meta device, and run in fp32 on the CPU for their caches; 600 draws
take a minute. tests/convert/measured.json holds what came out, and the tests replay it without torch.
The command measures the rows that are missing or whose draw is another one now; with `--all`, all of
them, as for another release of transformers. Types that a newer release brought (``SINCE``) are measured
when that one is installed. `tests/convert/test_measured.py` measures a few again.
"""

import hashlib
import json
import sys
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

from kvcalc.convert.config import class_defaults
from kvcalc.convert.hf import TRANSFORMERS, spec_from_config
from kvcalc.convert.model_types import CONVERTERS, SINCE, TEXT_CONFIGS
from tests.convert.class_defaults import is_of_this_release
from tests.convert.draws import draw

FILE = Path(__file__).with_name("measured.json")

# Draws of a type: of all the parameters, of the first ones the cache, too.
NUM_DRAWS, NUM_CACHES = 3, 2
# The cache after a prefill of so many tokens, the encoder's where there is one.
TOKENS, ENCODER_TOKENS = 23, 11

# Types whose cache is not run, and why: their parameters are.
NOT_RUN = {
    "openai-gpt": "transformers keeps no cache for it",
    "mllama_text_model": "needs an image for its cross-attention",
    "granite4_vision_text": "the text model alone makes no cache",
    "qwen2_vl_text": "rotary sections of the published head width only",
    "qwen2_5_vl_text": "rotary sections of the published head width only",
    "qwen2_5_omni_text": "rotary sections of the published head width only",
    "qwen3_omni_moe_text": "rotary sections of the published head width only",
    "glm4v_text": "rotary sections of the published head width only",
    "glm4v_moe_text": "rotary sections of the published head width only",
    "glm_ocr_text": "rotary sections of the published head width only",
    "hunyuan_vl_text": "rotary sections of the published head width only",
    "paddleocr_vl_text": "rotary sections of the published head width only",
    "cosmos3_edge_text": "rotary sections of the published head width only",
}

# Towers that need a package beside transformers or a config of their own: (type, why).
UNBUILDABLE = {
    "apertus1p5": "tokens of images and sound have their place in the vocabulary",
    "audioflamingo3": "no Auto class",
    "musicflamingo": "no Auto class",
    "aya_vision": "the default vision config does not build",
    "emu3": "needs a vocabulary map",
    "fast_vlm": "needs timm",
    "florence2": "one table for all, and a file that says otherwise is refused",
    "gemma3n": "needs timm",
    "granite4_vision": "needs a list of layers",
    "granite_docling": "the vision config must agree with the text's",
    "nemotron_h_omni": "the head is never tied, and a file that says otherwise is refused",
    "ovis2": "reads hidden_size and vocab_size at the top",
    "perception_lm": "needs timm",
    "qwen2_5_omni": "holds qwen2_5_omni_thinker",
    "qwen3_omni_moe": "holds qwen3_omni_moe_thinker",
}

# A draw's digest and what was measured of it: the parameters, and the bytes of the cache.
Row = list[Any]


def drawn(model_type: str, seed: int) -> dict[str, Any]:
    """A random config of a type."""
    return draw(model_type, seed, class_defaults()[model_type]["defaults"])


def inside(model_type: str, seed: int) -> dict[str, Any]:
    """A multimodal config around a random text config; the head tied as the class does, tied, not tied."""
    key, text_type, _ = TEXT_CONFIGS[model_type]
    tie = (None, True, False)[seed]
    config = {"model_type": model_type, key: drawn(text_type, seed)}
    return config if tie is None else config | {"tie_word_embeddings": tie}


def has_cache(model_type: str) -> bool:
    """Whether the type keeps a cache that is run, told by its first draw."""
    spec = spec_from_config(drawn(model_type, 0), "drawn", "draws.py").spec
    return spec.head != "none" and model_type not in NOT_RUN


def digest(config: dict[str, Any]) -> str:
    """Tells two draws apart."""
    return hashlib.sha256(json.dumps(config, sort_keys=True).encode()).hexdigest()[:12]


def measure(model_type: str, seed: int) -> Row:
    """Build a draw of a type with transformers, and run it where its cache is asked for."""
    from tests.convert.oracle import build, cache_bytes

    config = drawn(model_type, seed)
    # Phi-4-multimodal's towers stand inside its language model.
    total = sum(
        parameter.numel()
        for name, parameter in build(config).named_parameters()
        if "embed_tokens_extend" not in name
    )
    row = [digest(config), total]
    if seed < NUM_CACHES and has_cache(model_type):
        encoder = spec_from_config(config, "drawn", "draws.py").spec.encoder
        row.append(cache_bytes(config, TOKENS, ENCODER_TOKENS if encoder else 0))
    return row


def measure_inside(model_type: str, seed: int) -> Row:
    """Build a multimodal model on the meta device, and count the language model inside."""
    from tests.convert.oracle import language_model_parameters

    config = inside(model_type, seed)
    text = config[TEXT_CONFIGS[model_type][0]]
    tie = config.get("tie_word_embeddings")
    return [digest(config), language_model_parameters(model_type, text, tie)]


# section of the file -> its types, the config of a row, how it is measured
SECTIONS: dict[str, tuple[list[str], Any, Any]] = {
    "drawn": (sorted(CONVERTERS), drawn, measure),
    "inside": (sorted(TEXT_CONFIGS.keys() - UNBUILDABLE.keys()), inside, measure_inside),
}


@cache
def table() -> dict[str, Any]:
    """The file as it is."""
    found: dict[str, Any] = json.loads(FILE.read_text("utf-8"))
    return found


def row_of(section: str, model_type: str, seed: int) -> Row:
    """What was measured of a draw. Fails where the file is not of this draw."""
    again = "python -m tests.convert.measured measures it again"
    rows = table()[section].get(model_type, {"rows": []})["rows"]
    assert len(rows) > seed, f"{model_type} was not measured: {again}"
    config = SECTIONS[section][1](model_type, seed)
    assert rows[seed][0] == digest(config), f"{model_type} is drawn otherwise now: {again}"
    found: Row = rows[seed]
    return found


def measured_again(before: dict[str, Any], fresh: bool = False) -> dict[str, Any]:
    """The table with the rows that ``before`` lacks, or all; each type says when it was measured."""
    today = datetime.now(UTC).date().isoformat()
    found: dict[str, Any] = {"transformers": TRANSFORMERS}
    for section, (types, config_of, measurement) in SECTIONS.items():
        found[section] = {}
        for model_type in types:
            kept = before.get(section, {}).get(model_type, {"rows": []})
            digests = [digest(config_of(model_type, seed)) for seed in range(NUM_DRAWS)]
            stale = fresh or [row[0] for row in kept["rows"]] != digests
            if stale and is_of_this_release(model_type):
                print(f"measuring {model_type}", file=sys.stderr)
                rows = [measurement(model_type, seed) for seed in range(NUM_DRAWS)]
                own = {"transformers": SINCE[model_type]} if model_type in SINCE else {}
                kept = {**own, "date": today, "rows": rows}
            found[section][model_type] = kept
    return found


def text(values: dict[str, Any]) -> str:
    """One type a line, so that a diff of two releases reads well."""
    parts = [f'"transformers": {json.dumps(values["transformers"])}']
    for section in SECTIONS:
        lines = [f"{json.dumps(name)}: {json.dumps(row)}" for name, row in values[section].items()]
        parts.append(f'"{section}": {{\n' + ",\n".join(lines) + "\n}")
    return "{\n" + ",\n".join(parts) + "\n}\n"


if __name__ == "__main__":
    import warnings

    warnings.simplefilter("ignore")
    fresh = "--all" in sys.argv[1:] or table()["transformers"] != TRANSFORMERS
    FILE.write_text(text(measured_again(table(), fresh)), "utf-8")
