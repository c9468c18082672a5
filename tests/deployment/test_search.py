"""The fewest devices: what is skipped unasked would not have held."""

from hypothesis import given, settings
from hypothesis import strategies as st

from kvcalc.deployment.answer import FitRequest
from kvcalc.deployment.hardware import find
from kvcalc.deployment.planner import Planner
from kvcalc.memory.layout import Layout
from kvcalc.memory.workload import Workload
from kvcalc.spec.catalog import load as spec_of

# Attention of every kind, experts and states, and heads that 3, 5, 6 or 7 ranks divide.
_MODELS = ("llama-3-8b", "qwen2.5-0.5b", "gemma-3-27b", "gpt-oss-20b", "qwen3-30b-a3b", "falcon-7b",
           "mamba-codestral-7b", "deepseek-v2-lite", "phi-3-medium-4k", "whisper-large-v3")  # fmt: skip


def _exhaustive(planner: Planner, gpu: str, request: FitRequest) -> Layout | None:
    """Every layout is asked about; the fewest devices, of those the most tensor ranks."""
    held = [
        layout
        for tensor in range(1, 9)
        for pipeline in range(1, 9)
        if planner.holds(find(gpu), request.of(layout=(layout := Layout(tensor, pipeline))))
    ]
    return min(held, key=lambda layout: (layout.devices, -layout.tensor), default=None)


@settings(max_examples=30, deadline=None, derandomize=True)
@given(
    model=st.sampled_from(_MODELS),
    gpu=st.sampled_from(("gtx-1660-super", "rtx-4090", "a100-40gb", "h100-80gb", "mi300x", "b200")),
    engine=st.sampled_from(("vllm", "sglang", "logical")),
    dtype=st.sampled_from(("bf16", "fp8", "int4_g128")),
    tokens=st.sampled_from((1, 4096, 40_000)),
    batch=st.sampled_from((1, 48, 3000)),
)
def test_the_fewest_devices_are_those_of_an_exhaustive_search(
    model: str, gpu: str, engine: str, dtype: str, tokens: int, batch: int
) -> None:
    workload = Workload(context_tokens=tokens, batch_size=batch, dtype=dtype)
    request = FitRequest(workload=workload, engine=engine)
    spec = spec_of(model)
    planner = Planner(spec)
    found = planner.fewest(planner.on(find(gpu), request))
    expected = _exhaustive(Planner(spec), gpu, request)
    assert (None if found is None else found.request.layout) == expected
