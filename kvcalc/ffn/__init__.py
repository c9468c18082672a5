"""Feed-forward layers: dense, gated and mixture of experts. One file per kind."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from kvcalc.ffn.dense import DenseFeedForward
    from kvcalc.ffn.gated import GatedFeedForward
    from kvcalc.ffn.moe import MixtureOfExperts
    from kvcalc.ffn.rwkv_channel_mix import RwkvChannelMix

    FeedForward = DenseFeedForward | GatedFeedForward | MixtureOfExperts | RwkvChannelMix

# kind -> (module, class): read by the spec loader, which imports a kind only when a spec names it.
KINDS: dict[str, tuple[str, str]] = {
    "dense": ("kvcalc.ffn.dense", "DenseFeedForward"),
    "gated": ("kvcalc.ffn.gated", "GatedFeedForward"),
    "moe": ("kvcalc.ffn.moe", "MixtureOfExperts"),
    "rwkv_channel_mix": ("kvcalc.ffn.rwkv_channel_mix", "RwkvChannelMix"),
}
