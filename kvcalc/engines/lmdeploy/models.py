"""Which models lmdeploy's PyTorch engine was asked about here, release 0.18.0."""

from kvcalc.errors import UnsupportedError
from kvcalc.memory.inventory import groups_of
from kvcalc.spec.model import ModelSpec
from kvcalc.tensors import Window

RELEASE = "0.18.0"
# Types with a class in its PyTorch engine whose config was read by it and whose blocks were sized.
_READ = frozenset((
    "deepseek_v2", "deepseek_v3", "gemma", "gemma2", "gemma3_text", "glm4", "glm4_moe", "glm4_moe_lite",
    "gpt_oss", "internlm3", "kimi_k2", "llama", "minicpm3", "mistral", "mixtral", "phi3", "phimoe",
    "qwen2", "qwen2_moe", "qwen3", "qwen3_moe", "qwen3_next",
))  # fmt: skip
# Of these, the one whose windows are masks; of the others' layers all lose what a window leaves.
_MASKS = frozenset(("gpt_oss",))
_ABSENT = {
    "deepseek_v32": "its indexer's keys are caches that the operators ask for when they are built",
    "glm_moe_dsa": "its indexer's keys are caches that the operators ask for when they are built",
    "deepseek_v4": "its caches are what the operators ask for when they are built",
}


def check_model(spec: ModelSpec, version: str | None) -> None:
    """Raises UnsupportedError, by name, for a model that is not accounted for and a release not read."""
    if version is not None and version.removeprefix("v") != RELEASE:
        raise UnsupportedError(f"lmdeploy {version}: its blocks are accounted for in {RELEASE}")
    kind = spec.model_type or ""
    if kind not in _READ:
        said = _ABSENT.get(kind, "no class of its PyTorch engine was read for it")
        raise UnsupportedError(f"{spec.name}: lmdeploy {RELEASE}, model_type '{kind}': {said}")
    windows = any(
        isinstance(tensor.extent, Window) for group in groups_of(spec) for tensor in group.tensors
    )
    if windows and kind not in _MASKS:
        raise UnsupportedError(
            f"{spec.name}: lmdeploy {RELEASE} frees the blocks that the window leaves behind, those of "
            "full layers too, as it goes (WindowBlockManager): not accounted for"
        )
