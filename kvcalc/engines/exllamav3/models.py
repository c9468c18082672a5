"""Which models exllamav3's own classes were built for here, release 1.6.5."""

from kvcalc.errors import UnsupportedError
from kvcalc.spec.model import ModelSpec

RELEASE = "1.6.5"
# Types whose published architecture has a class, which was built and asked for its sizes.
_BUILT = frozenset((
    "apertus", "cohere", "cohere2", "deepseek_v3", "dots1", "ernie4_5_moe", "exaone4", "gemma2",
    "gemma3_text", "glm4", "glm4_moe", "glm4_moe_lite", "glm_moe_dsa", "gpt_oss", "kimi_k2",
    "kimi_linear", "lfm2", "lfm2_moe", "llama", "minimax_m2", "ministral3", "mistral", "mixtral",
    "nemotron_h", "olmo3", "phi3", "qwen2", "qwen3", "qwen3_5", "qwen3_5_moe", "qwen3_5_moe_text",
    "qwen3_5_text", "qwen3_moe", "qwen3_next", "seed_oss", "smollm3",
))  # fmt: skip
# A class there is, and its cache is not accounted for.
_ABSENT = {
    "deepseek_v4": "the rings and compressors of its class",
    "gemma4": "its class, which was not built here",
    "gemma4_text": "its class, which was not built here",
    "gemma4_unified": "its class, which was not built here",
    "bailing_hybrid": "its class, which was not built here",
    "mimo_v2_flash": "its class, which was not built here",
}
# Whose windows are rings of a slot each; other classes' windows are masks over all tokens.
RINGS = frozenset(("gpt_oss",))


def check_model(spec: ModelSpec) -> None:
    """Raises UnsupportedError, by name, for a model whose class was not built here."""
    kind = spec.model_type
    if kind in _BUILT:
        return
    if kind in _ABSENT:
        raise UnsupportedError(
            f"{spec.name}: exllamav3 {RELEASE}: {_ABSENT[kind]}, not accounted for"
        )
    raise UnsupportedError(
        f"{spec.name}: exllamav3 {RELEASE} has no class for model_type '{kind}' whose cache was read"
    )
