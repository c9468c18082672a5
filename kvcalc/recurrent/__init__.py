"""Recurrent and convolutional mixers: a fixed state per sequence. One file per mechanism."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from kvcalc.recurrent.delta_net import DeltaNet
    from kvcalc.recurrent.gated_deltanet import GatedDeltaNet
    from kvcalc.recurrent.kda import KimiDeltaAttention
    from kvcalc.recurrent.lightning import LightningAttention
    from kvcalc.recurrent.mamba1 import Mamba1
    from kvcalc.recurrent.mamba2 import Mamba2
    from kvcalc.recurrent.mlstm import Mlstm
    from kvcalc.recurrent.retnet import RetNet
    from kvcalc.recurrent.rg_lru import RgLru
    from kvcalc.recurrent.rwkv4 import Rwkv4
    from kvcalc.recurrent.rwkv6 import Rwkv6
    from kvcalc.recurrent.rwkv7 import Rwkv7
    from kvcalc.recurrent.short_conv import ShortConv

    Recurrent = (
        Mamba1 | Mamba2 | GatedDeltaNet | KimiDeltaAttention | LightningAttention | RetNet
        | Rwkv4 | Rwkv6 | Rwkv7 | RgLru | ShortConv | Mlstm | DeltaNet
    )  # fmt: skip

# kind -> (module, class): read by the spec loader, which imports a kind only when a spec names it.
KINDS: dict[str, tuple[str, str]] = {
    "mamba1": ("kvcalc.recurrent.mamba1", "Mamba1"),
    "mamba2": ("kvcalc.recurrent.mamba2", "Mamba2"),
    "delta_net": ("kvcalc.recurrent.delta_net", "DeltaNet"),
    "gated_deltanet": ("kvcalc.recurrent.gated_deltanet", "GatedDeltaNet"),
    "kda": ("kvcalc.recurrent.kda", "KimiDeltaAttention"),
    "lightning": ("kvcalc.recurrent.lightning", "LightningAttention"),
    "retnet": ("kvcalc.recurrent.retnet", "RetNet"),
    "rwkv4": ("kvcalc.recurrent.rwkv4", "Rwkv4"),
    "rwkv6": ("kvcalc.recurrent.rwkv6", "Rwkv6"),
    "rwkv7": ("kvcalc.recurrent.rwkv7", "Rwkv7"),
    "rg_lru": ("kvcalc.recurrent.rg_lru", "RgLru"),
    "short_conv": ("kvcalc.recurrent.short_conv", "ShortConv"),
    "mlstm": ("kvcalc.recurrent.mlstm", "Mlstm"),
}
