"""The share of a GPU that SGLang takes by itself, --mem-fraction-static.

As SGLang 0.5.23 works it out (srt/arg_groups/memory_hook.py, handle_gpu_memory_settings and
reserve_for_graph_mb), in MiB, with C tokens of a prefill step and G requests of the largest decode
graph, both by the GPU's memory:

    reserved = 512 + 1.5 C + 128 tp pp + 2 G + graphs of the prefill,  at least 10,240 above 60 GiB
    share    = round((memory - reserved) / memory, 3)

Graphs of the prefill: 8 MiB for each captured length (generate_prefill_cuda_graph_batch_sizes), 1.5
GiB for latent attention, none with pipeline ranks. Replicas of the attention (--dp) take 3 G more each,
4.5 G where G is above 300. SGLang reads the memory from nvidia-smi, which shows a few hundred MiB more
than programs see. What media take off the share is in media.py.
"""

from fractions import Fraction

from kvcalc.engines.engine import Device, Share
from kvcalc.engines.sglang.media import prefill_graphs, share_factor
from kvcalc.memory.layout import Layout
from kvcalc.spec.model import ModelSpec
from kvcalc.units import MIB

# Below so many GiB: tokens of a prefill step; requests of a decode graph below 4 ranks, from 4 on.
_BY_MEMORY = (
    (20, 2048, 8, 8),
    (35, 4096, 48, 160),
    (60, 4096, 32, 160),
    (160, 8192, 256, 512),
)
_LARGEST = (16384, 512, 512)


def default_share(spec: ModelSpec, device: Device, layout: Layout, requests: int | None) -> Share:
    """The share, and the note that says whose choice it is. requests: --max-num-seqs, where said."""
    memory = Fraction(device.bytes, MIB)
    chunk, few, many = next((row[1:] for row in _BY_MEMORY if memory < row[0] * 1024), _LARGEST)
    graph = many if layout.tensor * layout.data >= 4 else few
    if requests is not None:
        graph = min(graph, requests)
    latent = any(
        block.attention is not None and "latent" in {t.role for t in block.attention.cache()}
        for block in spec.blocks.values()
    )
    ranks = layout.tensor * layout.data * layout.pipeline
    graphs = prefill_graphs(spec)
    reserved = 512 + Fraction(3, 2) * chunk + 128 * ranks + 2 * graph
    if layout.data > 1:
        reserved += graph * layout.data * (Fraction(9, 2) if graph > 300 else 3)
    if layout.pipeline == 1 and graphs:
        reserved += 1536 if latent else 8 * _captured(chunk)
    if memory > 60 * 1024:
        reserved = max(reserved, Fraction(10 * 1024))
    share = Fraction(round((memory - reserved) / memory * 1000), 1000)
    factor = share_factor(spec)
    note = "; less, as a vision tower is loaded whose config was not read" if factor is None else ""
    share *= factor or 1
    return Share(
        of=share,
        note=f"--memory-utilization {float(share):g}, as SGLang 0.5.23 chooses for this memory "
        f"(memory_hook.py){note}",
    )


def _captured(tokens: int) -> int:
    """How many lengths of a prefill have a graph."""
    lengths = (
        *range(4, 33, 4), *range(48, 257, 16), *range(288, 513, 32), *range(576, 1025, 64),
        *range(1280, 4097, 256), *range(4608, tokens + 1, 512),
    )  # fmt: skip
    return sum(length <= tokens for length in lengths)
