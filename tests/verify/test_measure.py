"""``verify --device cuda`` on a device whose allocator is known: a CPU that counts its storages.

Bytes are counted by hand. The model is tiny, its path the one that a GPU takes.
"""

import gc
from collections.abc import Iterator
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

pytest.importorskip("torch")

import torch

from kvcalc.attention.mha_mqa_gqa import SoftmaxAttention
from kvcalc.errors import NotFoundError, UnsupportedError
from kvcalc.proofs import Proof, Verification
from kvcalc.spec.catalog import load
from kvcalc.spec.loader import load_spec_text
from kvcalc.tensors import CacheTensor
from kvcalc.verify import bench, measure
from kvcalc.verify.allocator import CudaAllocator, TrackedCpu, explained, rounded
from kvcalc.verify.bench import Size, Trial
from kvcalc.verify.measure import OutOfMemoryError, verify
from kvcalc.verify.readings import traced
from tests.verify.specs import SPECS

pytestmark = pytest.mark.torch
# 4 heads of 8, two layers: K and V of 4 * 8 * 2 bytes a token.
MHA = load_spec_text(SPECS["mha"])


@pytest.fixture(autouse=True, scope="module")
def _what_stays() -> None:
    """The books are read after a collection, seven times a run: it passes over what one run imports."""
    gc.freeze()
    verify(MHA, 2, 1, "eager", TrackedCpu())
    gc.collect()
    gc.freeze()


def proofs(found: Verification) -> dict[str, Proof]:
    return {proof.name: proof for proof in found.proofs}


def failures(found: Verification) -> list[str]:
    return [f"{proof.name}: {failure}" for proof in found.proofs for failure in proof.failures]


@pytest.mark.parametrize("backend", ["eager", "sdpa"])
def test_requested_and_allocated_bytes_by_hand(backend: str) -> None:
    found = verify(MHA, 101, 3, backend, TrackedCpu())
    assert failures(found) == []
    # 3 sequences * 101 tokens * 4 heads * 8 * 2 bytes = 19,392 a tensor, two tensors, two layers.
    assert proofs(found)["requested"].measured_total == 4 * 19_392
    # 19,392 is 37.875 blocks of 512: 38 blocks are 19,456.
    allocated = proofs(found)["allocated"]
    assert allocated.measured_total == 4 * 19_456
    assert "19392 bytes, rounded to 19456: blocks are multiples of 512" in allocated.rows[0].note
    assert "the whole model; 101 tokens, batch 3" in found.plan


@pytest.mark.parametrize(
    "name",
    ["mla", "mamba2",
     *(pytest.param(name, marks=pytest.mark.sweep)
       for name in ("window", "chunk", "dsa", "shared-kv", "encoder-decoder", "encoder", "gemma-3n-like",
                    "parallel", "hca"))],
)  # fmt: skip
def test_mechanisms_of_other_shapes(name: str) -> None:
    assert failures(verify(load_spec_text(SPECS[name]), 140, 2, "eager", TrackedCpu())) == []


def test_eager_scores_are_ten_bytes_each() -> None:
    peaks = traced(MHA, Trial("all", (0, 1), 2, whole=True), Size(101, 3, 0, "eager"))
    scores = sum(num_bytes for name, num_bytes in peaks.made_by if "[3, 4, 100, 100]" in name)
    assert scores == 10 * 3 * 4 * 100 * 100
    fused = traced(MHA, Trial("all", (0, 1), 2, whole=True), Size(101, 3, 0, "sdpa"))
    assert not any("[3, 4, 100, 100]" in name for name, _ in fused.made_by)


def test_a_layer_of_each_kind_where_the_whole_does_not_fit() -> None:
    spec = load_spec_text(SPECS["window"].replace("repeat: 2", "repeat: 16"))
    small = verify(spec, 64, 1, "sdpa", TrackedCpu(capacity=1_000_000))
    assert failures(small) == []
    assert "one layer of each kind, alone: layer 0 (a) (16)" in small.plan
    assert verify(spec, 64, 1, "sdpa", TrackedCpu()).plan.startswith("the whole model")


def test_no_weight_of_another_layer_is_made(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[Any] = []
    right = bench.materialise

    def watched(model: Any, trial: Trial, device: Any) -> None:
        right(model, trial, device)
        if device.type != "meta":
            made.append((trial, model))

    monkeypatch.setattr(bench, "materialise", watched)
    verify(load_spec_text(SPECS["parallel"]), 20, 1, "eager", TrackedCpu())
    ((trial, model),) = made
    assert trial.layers == (0,)
    assert not any(tensor.is_meta for tensor in model.layers[0].parameters())
    assert all(tensor.is_meta for tensor in model.layers[1].parameters())
    assert model.embedding.weight.is_meta


def test_out_of_memory_says_what_would_fit() -> None:
    # Scores of 300 tokens alone: 10 * 4 * 299 * 299 = 3.6 MB.
    device = TrackedCpu(capacity=2_500_000)
    with pytest.raises(
        OutOfMemoryError, match=r"--context (\d+), or --attention-backend sdpa"
    ) as no:
        verify(MHA, 300, 1, "eager", device)
    tokens = int(str(no.value).partition("--context ")[2].partition(",")[0])
    assert failures(verify(MHA, tokens, 1, "eager", device)) == []
    with pytest.raises(OutOfMemoryError, match="need"):
        verify(MHA, tokens + 1, 1, "eager", device)


def test_a_device_that_runs_out_halfway_is_a_message_too(monkeypatch: pytest.MonkeyPatch) -> None:
    device = TrackedCpu(capacity=600_000)
    # The books promise more than there is, as another process can make them.
    monkeypatch.setattr(device, "free_bytes", lambda: 1 << 40)
    with pytest.raises(OutOfMemoryError):
        verify(MHA, 120, 1, "eager", device)
    assert device.now().requested == 0


def test_a_second_run_is_not_disturbed_by_the_first() -> None:
    device = TrackedCpu()
    first, second = (verify(MHA, 9, 1, "eager", device) for _ in range(2))
    assert first.proofs == second.proofs
    assert device.now().requested == 0


def test_a_wrong_formula_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    right = SoftmaxAttention.cache

    def wrong(self: SoftmaxAttention) -> Iterator[CacheTensor]:
        for tensor in right(self):
            yield replace(tensor, shape=(tensor.shape[0] + 1, tensor.shape[1]))

    monkeypatch.setattr(SoftmaxAttention, "cache", wrong)
    found = proofs(verify(load_spec_text(SPECS["mha"]), 20, 1, "eager", TrackedCpu()))
    assert [name for name, proof in found.items() if not proof.passed] == ["requested"]
    assert (
        found["requested"]
        .failures[0]
        .startswith(
            "layers.0.attention.key: formula [1, 5, 20, 8] bf16, 1600 bytes; measured [1, 4, 20, 8]"
        )
    )


def test_memory_that_nothing_explains_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    right = measure.traced

    def less(*arguments: Any) -> Any:
        peaks = right(*arguments)
        return replace(peaks, prefill=peaks.prefill * 97 // 100)

    monkeypatch.setattr(measure, "traced", less)
    found = proofs(verify(MHA, 60, 1, "eager", TrackedCpu()))
    assert [name for name, proof in found.items() if not proof.passed] == ["peak"]
    assert "more than 2 %" in found["peak"].failures[0]


def test_a_recursion_is_refused_by_name() -> None:
    name = "recursion-cycle-per_recursion-expert_choice"
    with pytest.raises(UnsupportedError, match="a recursion routes by values"):
        verify(load_spec_text(SPECS[name]), 20, 1, "eager", TrackedCpu())


def test_blocks_are_explained() -> None:
    assert rounded(1) == 512
    assert rounded(512) == 512
    assert rounded(513) == 1024
    assert explained(1024, 1024) == "1024 bytes, whole blocks of 512"
    assert "a rest of up to 1 MiB is not split off" in explained(12_058_624, 12_582_912)
    assert explained(1000, 2048) == ""


def test_experts_sorted_give_what_experts_looked_up_give() -> None:
    from kvcalc.verify.build import filled

    model = filled(load_spec_text(SPECS["experts"]))
    experts = model.layers[0].ffn.experts
    x = torch.randn((9, 64), dtype=torch.float64)
    chosen = torch.stack([torch.randperm(20)[:4] for _ in range(9)])
    with torch.no_grad():
        assert torch.allclose(experts(x, chosen), bench.grouped(experts, x, chosen), atol=1e-12)


def test_a_trace_of_a_real_layer_needs_no_memory() -> None:
    # Llama-3-8B, one layer, 8192 tokens: 10 * 32 * 8191 * 8191 bytes of scores, 21.5 GB.
    spec = load("llama-3-8b")
    peaks = traced(spec, Trial("layer", (0,), 32), Size(8192, 1, 0, "eager"))
    scores = sum(size for name, size in peaks.made_by if "[1, 32, 8191, 8191]" in name)
    assert scores == 21_469_593_920
    assert peaks.prefill > scores


# ---------------------------------------------------------------- the CUDA books, CUDA replaced


@pytest.fixture
def cuda(monkeypatch: pytest.MonkeyPatch) -> None:
    stats = {"requested_bytes.all.current": 1000, "allocated_bytes.all.current": 1024,
             "reserved_bytes.all.current": 2 << 20, "requested_bytes.all.peak": 5000,
             "allocated_bytes.all.peak": 5120}  # fmt: skip
    blocks = [{"size": 512, "state": "inactive"}, {"size": 1024, "state": "active_allocated"}]
    segments = [{"address": 4096, "total_size": 2 << 20, "blocks": blocks}]
    for name, answer in (
        ("is_available", True), ("current_device", 0), ("synchronize", None),
        ("memory_stats", stats), ("mem_get_info", (100 << 20, 200 << 20)),
        ("memory_snapshot", segments), ("get_device_name", "NVIDIA Something"),
        ("reset_peak_memory_stats", None), ("empty_cache", None),
    ):  # fmt: skip
        monkeypatch.setattr(torch.cuda, name, lambda *_, answer=answer: answer)


@pytest.mark.usefixtures("cuda")
def test_the_caching_allocators_books() -> None:
    device = CudaAllocator()
    now = device.now()
    assert (now.requested, now.allocated, now.reserved) == (1000, 1024, 2_097_152)
    assert (now.peak_requested, now.peak_allocated) == (5000, 5120)
    # Free on the device, and what the allocator holds of it without using it.
    assert device.free_bytes() == 104_857_600 + 2_097_152 - 1024
    storage = SimpleNamespace(data_ptr=lambda: 4096 + 512)
    tensor: Any = SimpleNamespace(untyped_storage=lambda: storage)
    assert device.block(tensor) == 1024
    assert device.name == "NVIDIA Something"


def test_without_cuda_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(NotFoundError, match="finds no CUDA device here"):
        verify(MHA, 10, 1)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("backend", ["eager", "sdpa"])
def test_on_a_gpu(backend: str) -> None:
    assert failures(verify(load("llama-3-8b"), 2048, 1, backend)) == []
