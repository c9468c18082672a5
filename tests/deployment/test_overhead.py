"""The overhead model against every startup it was taken from: each lies in the stated band.

vLLM 0.19 on an H100, max_num_batched_tokens 8192, max_num_seqs 1024 (the server's default there):
llm-d-incubation/llm-d-planner accuracy/results/v0.19.0 (Apache-2.0). GiB as logged, so 0.005 either way.
"""

import pytest

from kvcalc.deployment.hardware import find
from kvcalc.deployment.overhead import overheads, was_measured
from kvcalc.engines.engine import Batch
from kvcalc.engines.vllm import default_batch
from kvcalc.memory.weights import device_weight_bytes
from kvcalc.spec.catalog import locate

GIB = 1 << 30

# spec, TP, PP, bytes of an activation, then GiB: activation peak, CUDA graphs, non-torch, weights
# (None: a quantised or multimodal checkpoint, whose weights are not the spec's in bf16).
STARTUPS = [
    ("deepseek-v2-lite", 1, 1, 2, 1.93, 1.57, 0.26, 29.43),
    ("qwen2.5-7b", 1, 1, 2, 2.21, 0.81, 0.24, None),
    ("gemma-2-2b", 1, 1, 2, 3.62, 0.71, 0.24, 4.90),
    ("gemma-3-12b", 1, 1, 2, 3.94, 0.94, 0.25, None),
    ("granite-3.1-2b", 1, 1, 2, 0.75, 0.84, 0.46, 4.74),
    ("granite-3.1-8b", 1, 1, 2, 0.85, 0.98, 0.46, 15.25),
    ("granite-3.1-2b", 1, 1, 2, 0.79, 0.82, 0.25, None),
    ("llama-3.1-8b", 1, 1, 2, 1.89, 0.91, 0.25, 14.99),
    ("llama-3.1-8b", 1, 1, 2, 1.89, 0.87, 0.25, None),
    ("llama-3.1-8b", 1, 1, 4, 2.21, 0.79, 0.25, None),
    ("llama-3.1-8b", 1, 2, 2, 1.10, 0.65, 0.07, 7.51),
    ("llama-3.1-8b", 1, 4, 2, 1.05, 0.51, 0.07, None),
    ("llama-3.1-8b", 2, 1, 2, 1.89, 0.76, 2.07, 7.51),
    ("llama-3.1-8b", 4, 1, 2, 1.89, 0.67, 2.13, 3.77),
    ("phi-4", 1, 1, 2, 1.52, 1.07, 0.25, 27.39),
    ("mistral-small-24b", 1, 1, 2, 2.03, 1.06, 0.25, None),
    ("mixtral-8x7b", 2, 1, 2, 1.21, 0.93, 2.07, 43.51),
    ("gpt-oss-20b", 2, 1, 2, 2.87, 1.55, 2.07, None),
    ("qwen2.5-7b", 1, 1, 2, 2.21, 0.86, 0.24, 14.25),
    ("qwen2.5-7b", 1, 1, 2, 2.21, 0.87, 0.24, 14.25),
    ("qwen2.5-7b", 2, 1, 2, 2.21, 0.71, 2.06, 7.12),
    ("qwen2.5-7b", 4, 1, 2, 2.21, 0.64, 2.13, 3.55),
    ("llama-3.1-8b", 1, 1, 2, 1.89, 0.94, 0.25, None),
    ("qwen2.5-7b", 1, 1, 2, 2.21, 0.88, 0.25, None),
]


@pytest.mark.parametrize(
    ("model", "tensor", "pipeline", "size", "activation", "graphs", "libraries", "weights"),
    STARTUPS,
)
def test_every_startup_lies_in_the_band(
    model: str, tensor: int, pipeline: int, size: int, activation: float, graphs: float,
    libraries: float, weights: float | None,
) -> None:  # fmt: skip
    spec = locate(model).spec
    # The pipelined startups report the first stage, which has no sampler.
    items = overheads(spec, Batch(8192, 1024), tensor, pipeline, last_stage=pipeline == 1,
                      activation_bytes=size)  # fmt: skip
    # A model with towers has one more: its cache of embeddings, which the log does not state.
    for item, logged in zip(items[:3], (activation, graphs, libraries), strict=True):
        least, most = item.least_bytes / GIB - 0.005, item.most_bytes / GIB + 0.005
        assert least <= logged <= most, (item.name, least, logged, most)
    if weights is not None:
        counted = device_weight_bytes(spec, "bf16", tensor, pipeline)[0] / GIB
        assert 0 <= weights + 0.005 - counted <= 0.01 * counted + 0.01


def step_on(gpu: str) -> Batch:
    return default_batch(find(gpu))


def test_the_default_step_follows_the_memory() -> None:
    """vllm/engine/arg_utils.py, get_batch_defaults."""
    assert step_on("h100-80gb") == Batch(8192, 1024)
    assert step_on("a100-80gb") == Batch(2048, 256)
    assert step_on("mi300x") == Batch(16384, 1024)
    assert step_on("rtx-4090") == Batch(2048, 256)


def test_measured_is_said_of_what_was_measured() -> None:
    assert was_measured("h100-80gb", "vllm", "0.19.0")
    assert was_measured("h100-80gb", "vllm", "v0.19")
    for other in (("h100-80gb", "vllm", None), ("h100-80gb", "vllm", "0.33.0"),
                  ("rtx-4090", "vllm", "0.19.0"), ("h100-80gb", "sglang", "0.19.0")):  # fmt: skip
        assert not was_measured(*other)


def test_what_is_carried_over_has_a_wider_band() -> None:
    """Two RTX 4090 logged 0.25 GiB of libraries where two H100 took 2.07 (vLLM, February 2025)."""
    spec = locate("qwen2.5-14b").spec
    near = overheads(spec, Batch(2048, 256), 2, 1)
    far = overheads(spec, Batch(2048, 256), 2, 1, measured=False)
    for one, other in zip(near, far, strict=True):
        assert one.bytes == other.bytes
        assert other.least_bytes < one.least_bytes <= one.bytes < one.most_bytes < other.most_bytes
    assert far[-1].least_bytes <= 0.25 * GIB <= far[-1].most_bytes


def test_eager_mode_captures_no_graphs() -> None:
    items = overheads(locate("llama-3.1-8b").spec, Batch(8192, 1024), 1, 1, eager=True)
    assert [item.name for item in items] == ["activation peak", "libraries"]
