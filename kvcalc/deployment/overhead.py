"""What an engine takes of a device beside weights and cache: activations, CUDA graphs, libraries.

A model of vLLM's startup on NVIDIA hardware, with its coefficients taken from 36 measured startups
(15 models on an H100, vLLM 0.19, llm-d-incubation/llm-d-planner accuracy/results/v0.19.0). T tokens
of a step (max_num_batched_tokens), S requests (max_num_seqs), V vocab_size, d hidden_size, b bytes of
an activation, L layers of a rank, F ffn width of one token on a rank.

* activations: the profiling run's peak (gpu_model_runner.profile_run): a forward pass, or the sampler
  on S rows of logits, whichever is larger, and the workspace that fused experts keep:

      max(b T (3 F + 4 d), (b + 12) S V + 3 b T d)  +  3 b T k F_expert          (+ 3 b T d with PP)

  (b + 12): the logits, their fp32 copy and two fp32 temporaries. Measured / model: 0.92 to 1.08 over
  the 36. The sampler is what decides for most models, and tensor parallelism does not divide it:
  Llama-3.1-8B takes 1.89 GiB on 1, 2 and 4 ranks. Of pipeline stages only the last has a sampler
  (measured: first stages, 1.10 and 1.05 GiB).
* CUDA graphs: 0.39 GiB + 7.07 MiB L + 2.4 KiB L d / tp, which is a fit to the 33 dense startups
  (0.82 to 1.09 of it). The three mixtures of experts took 0.17 to 0.92 GiB more; 0.87 is the
  middle one.
* libraries: CUDA context and kernels 0.25 GiB (0.24 to 0.46; 0.07 on pipeline stages), and with
  several ranks NCCL and custom all-reduce, 2.07 GiB in all (2.06 to 2.13 with 2 and 4; more ranks
  were not measured).

Weights as loaded are 0.1 to 0.8 % above the sum of the tensors where the checkpoint is bf16.

On other GPUs, and in other releases, the model is carried over: nobody measured it there, so its band is
twice as wide, and the libraries of several ranks begin where one rank's do (two RTX 4090, which have no
fast links, logged 0.25 GiB; an RTX 3090 alone 0.35).
"""

from kvcalc.engines import SERVING
from kvcalc.engines.engine import Batch
from kvcalc.frozen import changed, frozen, remembered
from kvcalc.spec.layers import decoder_layers
from kvcalc.spec.model import ModelSpec
from kvcalc.units import GIB, KIB, MIB

EVIDENCE = "36 startups, llm-d-incubation/llm-d-planner accuracy/results/v0.19.0"
_GPU, _ENGINE, _RELEASE = "h100-80gb", SERVING, "0.19"
# Libraries of one rank, in hundredths of a GiB: the model's value and its band.
ONE_RANK = (25, 24, 46)
CARRIED_OVER = "carried over from H100, vLLM 0.19"


def was_measured(device: str, engine: str, version: str | None) -> bool:
    """Whether the startups were on this device, with this release."""
    release = (version or "").lstrip("v")
    return (device, engine) == (_GPU, _ENGINE) and f"{release}.".startswith(f"{_RELEASE}.")


@frozen
class Overhead:
    """What an engine takes beside weights and cache, with the band of the evidence."""

    name: str
    bytes: int
    least_bytes: int
    most_bytes: int
    formula: str


def overheads(
    spec: ModelSpec, batch: Batch, tensor: int, pipeline: int, *, last_stage: bool = True,
    ranks: int | None = None, activation_bytes: int = 2, eager: bool = False, measured: bool = True,
    largest_item: int | None = None,
) -> tuple[Overhead, ...]:  # fmt: skip
    """Activations, graphs and libraries on one device, each with the band of its evidence.

    last_stage: whether the device samples. ranks: devices that talk to each other within a stage;
    the tensor ranks when absent. eager: no graphs are captured. measured: False where the band is
    carried over (see ``was_measured``).
    """
    items = (
        _activations(spec, batch, tensor, pipeline, last_stage, activation_bytes),
        *(() if eager else (_graphs(spec, tensor, pipeline),)),
        _libraries(ranks or tensor, pipeline),
    )
    kept = _encoder_cache(spec, batch, activation_bytes, largest_item)
    return (*(items if measured else map(_carried_over, items)), *kept)


def _carried_over(item: Overhead) -> Overhead:
    """The same item with twice the band."""
    least = max(0, 2 * item.least_bytes - item.bytes)
    if item.name == "libraries":
        least = min(least, ONE_RANK[1] * GIB // 100)
    return changed(item, least_bytes=least, most_bytes=2 * item.most_bytes - item.bytes)


def _band(num_bytes: int, least: int, most: int) -> tuple[int, int]:
    """The band as percent of the model."""
    return num_bytes * least // 100, -(-num_bytes * most // 100)


@remembered
def _widths(spec: ModelSpec) -> tuple[int, int]:
    """The widest dense feed-forward layer, and the widest k routed experts."""
    dense = experts = 0
    for block in spec.blocks.values():
        ffn = block.ffn
        if ffn is None:
            continue
        if ffn.kind == "moe":
            experts = max(experts, ffn.num_experts_per_tok * ffn.moe_intermediate_size)
        else:
            dense = max(dense, getattr(ffn, "intermediate_size", 0))
    return dense, experts


def _activations(
    spec: ModelSpec, batch: Batch, tensor: int, pipeline: int, last_stage: bool, size: int
) -> Overhead:
    dense, experts = _widths(spec)
    tokens, width = batch.tokens, spec.hidden_size
    forward = size * tokens * (3 * -(-dense // tensor) + 4 * width)
    logits = spec.vocab_size if spec.head != "none" and last_stage else 0
    sampler = (size + 12) * batch.requests * logits + 3 * size * tokens * width
    workspace = 3 * size * tokens * -(-experts // tensor)
    exchange = 3 * size * tokens * width if pipeline > 1 else 0
    total = max(forward, sampler) + workspace + exchange
    least, most = _band(total, 92, 108)
    return Overhead(
        "activation peak",
        total,
        least,
        most,
        "max(b T (3 F + 4 d), (b + 12) S V + 3 b T d) + 3 b T k F_expert + 3 b T d [pp > 1]",
    )


def _encoder_cache(
    spec: ModelSpec, batch: Batch, size: int, largest_item: int | None
) -> tuple[Overhead, ...]:
    """What towers made of images and sound, kept until the language model has read it: room for the
    tokens of a step or for the largest item, whichever is more (vLLM 0.33,
    v1/core/encoder_cache_manager.py, compute_mm_encoder_budget; profile_run fills it). Qwen3-VL's
    deepstack has a row for each layer that is read early."""
    if not spec.towers:
        return ()
    early = sum(
        getattr(tower, "copies", None) or 1
        for name, tower in spec.towers.items()
        if name == "deepstack"
    )
    tokens, width = max(batch.tokens, largest_item or 0), spec.hidden_size * (1 + early)
    total = size * tokens * width
    return (Overhead("encoder cache", total, total, total, "b max(T, T_item) d"),)


def _graphs(spec: ModelSpec, tensor: int, pipeline: int) -> Overhead:
    layers = -(-len(decoder_layers(spec)) // pipeline)
    base, per_layer, per_width = 399 * MIB, 7239 * KIB, 2459
    total = base + per_layer * layers + per_width * layers * spec.hidden_size // tensor
    least, most = _band(total, 82, 109)
    extra = ""
    if _has_experts(spec):
        total, least, most = total + 891 * MIB, least + 174 * MIB, most + 942 * MIB
        extra = " + 0.87 GiB [experts]"
    return Overhead(
        "CUDA graphs",
        total,
        least,
        most,
        "0.39 GiB + 7.07 MiB L + 2459 B L d / tp" + extra,
    )


@remembered
def _has_experts(spec: ModelSpec) -> bool:
    return any(block.ffn is not None and block.ffn.kind == "moe" for block in spec.blocks.values())


def _libraries(tensor: int, pipeline: int) -> Overhead:
    if tensor > 1:
        sizes, shown = (207, 206, 213), "2.07 GiB (CUDA context, NCCL, custom all-reduce)"
    else:
        value, least, most = ONE_RANK
        sizes, shown = (
            (value, least if pipeline == 1 else 7, most),
            "0.25 GiB (CUDA context and kernels)",
        )
    total, least, most = (size * GIB // 100 for size in sizes)
    return Overhead("libraries", total, least, most, shown)
