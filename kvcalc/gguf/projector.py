"""The projector file (mmproj) that stands beside a GGUF file: towers, as llama.cpp's converter writes them.

Matrices in f16; vectors and tables of positions in f32 (ModelBase.prepare_tensors), Gemma 3's patches
too (Gemma3VisionModel.tensor_force_quant). Convolutions over time are split, queries, keys and values
are split or fused: the elements are the same. The file's header comes on top.

Source: llama.cpp v0.5.0, conversion/base.py (MmprojModel), gemma.py, qwenvl.py, qwen3vl.py, llama4.py,
kimivl.py, minimax.py, smolvlm.py, internvl.py, lfm2.py, llava.py, ultravox.py;
``python -m tests.gguf.projectors_measured`` runs the converter on small models. Worked number:
Gemma 3 4B, 851,226,048 bytes of 439 tensors; the published file has 851,251,104.
"""

from kvcalc.dtypes import GGML, Format
from kvcalc.memory.towers import tower_groups, tower_words
from kvcalc.spec.model import ModelSpec
from kvcalc.tensors import ParamTensor

# The model_types whose towers the converter's class was read for -> their rows in f32, by the name's
# beginning, beside vectors.
_POSITIONS = ("position_embedding", "tokens")
_PROJECTORS: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(
        ("gemma3", "gemma3_text", "idefics3", "smolvlm"), (*_POSITIONS, "patch_embedding")
    ),
    **dict.fromkeys(
        ("gemma4", "qwen2_vl", "qwen2_5_vl", "qwen3_vl", "qwen3_vl_moe", "qwen3_5", "qwen3_5_moe",
         "llama4", "kimi_k25", "minimax_m3_vl", "glm4v", "glm_ocr", "internvl", "lfm2_vl", "mistral3",
         "ministral3", "qwen2_audio", "voxtral"),
        _POSITIONS,
    ),
}  # fmt: skip


# Those whose converter keeps queries, keys and values in one tensor.
_FUSED = ("qwen3_vl", "qwen3_vl_moe", "qwen3_5", "qwen3_5_moe", "glm4v", "glm_ocr")
_OF_FUSED = ("attention.k_proj.", "attention.v_proj.")
_WITH_FRAMES = 5
# Towers whose converter keeps some matrices in f32 and adds bounds as tensors: not measured.
_NOT_MEASURED = ("usm",)


def has_projector(spec: ModelSpec) -> bool:
    """Whether the towers' file is accounted for."""
    measured = all(tower.kind not in _NOT_MEASURED for tower in spec.towers.values())
    return bool(spec.towers) and measured and spec.model_type in _PROJECTORS


def projector_format(spec: ModelSpec, tensor: ParamTensor) -> Format:
    """How the projector file of a spec that has one stores a tower's tensor."""
    wide = len(tensor.shape) < 2 or tensor.name.startswith(_PROJECTORS[spec.model_type or ""])
    return GGML["f32" if wide else "f16"]


def projector_tensors(spec: ModelSpec, tensor: ParamTensor) -> int:
    """How many tensors of the file it is: each frame of a patch is one; q, k and v may be one."""
    if tensor.name == "patch_embedding.weight" and len(tensor.shape) == _WITH_FRAMES:
        return tensor.shape[2]
    fused = spec.model_type in _FUSED and tensor.component == "vision"
    return 0 if fused and tensor.name.startswith(_OF_FUSED) else 1


def projector_bytes(spec: ModelSpec) -> int:
    """The tensors of the projector file; 0 where there is none, or none that is accounted for."""
    if not has_projector(spec):
        return 0
    return sum(
        projector_format(spec, tensor).tensor(tensor.shape) * group.count
        for group in tower_groups(spec)
        for tensor in group.tensors
        if not tensor.buffer
    )


def said_of_projector(spec: ModelSpec) -> tuple[str, ...]:
    """What an answer says of the towers' file; nothing where there are no towers."""
    if not spec.towers:
        return ()
    if not has_projector(spec):
        return (
            f"not in these bytes: {tower_words(spec)}; the projector file is not accounted for",
        )
    return (
        f"the projector file (--mmproj) in f16 has {projector_bytes(spec):,} of these bytes; "
        f"--only language leaves it out",
    )
