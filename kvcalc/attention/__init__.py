"""Attention mechanisms: what each keeps and which weights it owns. One file per mechanism."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from kvcalc.attention.cca import CompressedConvolutionalAttention
    from kvcalc.attention.csa import CompressedSparseAttention
    from kvcalc.attention.differential import DifferentialAttention
    from kvcalc.attention.forgetting import ForgettingAttention
    from kvcalc.attention.gla import GroupedLatentAttention
    from kvcalc.attention.gta import GroupedTiedAttention
    from kvcalc.attention.hca import HeavilyCompressedAttention
    from kvcalc.attention.mfa import MultiMatrixFactorizationAttention
    from kvcalc.attention.mha_mqa_gqa import SoftmaxAttention
    from kvcalc.attention.mla import MultiHeadLatentAttention
    from kvcalc.attention.moa import MixtureOfAttentionHeads
    from kvcalc.attention.moba import MixtureOfBlockAttention
    from kvcalc.attention.nsa import NativeSparseAttention
    from kvcalc.attention.tpa import TensorProductAttention
    from kvcalc.attention.v4_window import SharedKeyValueWindow

    # Every mechanism that a layer may have in place of another; CrossAttention stands beside them.
    Attention = (
        SoftmaxAttention
        | MultiHeadLatentAttention
        | SharedKeyValueWindow
        | CompressedSparseAttention
        | HeavilyCompressedAttention
        | GroupedTiedAttention
        | GroupedLatentAttention
        | TensorProductAttention
        | MultiMatrixFactorizationAttention
        | DifferentialAttention
        | NativeSparseAttention
        | MixtureOfBlockAttention
        | MixtureOfAttentionHeads
        | CompressedConvolutionalAttention
        | ForgettingAttention
    )

# kind -> (module, class): read by the spec loader, which imports a mechanism when a spec names it.
KINDS: dict[str, tuple[str, str]] = {
    "mha": ("kvcalc.attention.mha_mqa_gqa", "SoftmaxAttention"),
    "mqa": ("kvcalc.attention.mha_mqa_gqa", "SoftmaxAttention"),
    "gqa": ("kvcalc.attention.mha_mqa_gqa", "SoftmaxAttention"),
    "mla": ("kvcalc.attention.mla", "MultiHeadLatentAttention"),
    "v4_window": ("kvcalc.attention.v4_window", "SharedKeyValueWindow"),
    "csa": ("kvcalc.attention.csa", "CompressedSparseAttention"),
    "hca": ("kvcalc.attention.hca", "HeavilyCompressedAttention"),
    "gta": ("kvcalc.attention.gta", "GroupedTiedAttention"),
    "gla": ("kvcalc.attention.gla", "GroupedLatentAttention"),
    "tpa": ("kvcalc.attention.tpa", "TensorProductAttention"),
    "mfa": ("kvcalc.attention.mfa", "MultiMatrixFactorizationAttention"),
    "differential": ("kvcalc.attention.differential", "DifferentialAttention"),
    "nsa": ("kvcalc.attention.nsa", "NativeSparseAttention"),
    "moa": ("kvcalc.attention.moa", "MixtureOfAttentionHeads"),
    "cca": ("kvcalc.attention.cca", "CompressedConvolutionalAttention"),
    "moba": ("kvcalc.attention.moba", "MixtureOfBlockAttention"),
    "forgetting": ("kvcalc.attention.forgetting", "ForgettingAttention"),
}
CROSS_KINDS: dict[str, tuple[str, str]] = {"cross": ("kvcalc.attention.cross", "CrossAttention")}
