"""The projector and the draft in llama.cpp's table, held to buffers that llama-server printed."""

import json
from typing import Any

import pytest

from kvcalc.deployment.hardware import find
from kvcalc.engines.llama_cpp.flags import LlamaCppFlags
from kvcalc.engines.llama_cpp.local import LocalFit, LocalQuestion, fit_local
from kvcalc.engines.llama_cpp.memory import Machine
from kvcalc.errors import UnsupportedError, UsageError
from kvcalc.gguf.projector import projector_bytes
from kvcalc.memory.asked_beside import Draft
from kvcalc.spec.catalog import load as spec_of
from kvcalc.units import GIB, MIB
from tests.engines.test_llama_cpp_placement import mib
from tests.scratch import run

Capture = pytest.CaptureFixture[str]


def ask(model: str, draft: str | None = None, devices: int = 1, **flags: Any) -> LocalFit:
    question = LocalQuestion(
        dtype="q4_k_m", flags=LlamaCppFlags.of("llama.cpp", flags),
        machine=Machine(devices=(find("rtx-4090"),) * devices, ram=64 * GIB),
        draft=None if draft is None else Draft(spec_of(draft)),
    )  # fmt: skip
    return fit_local(spec_of(model), question, 32768)


def test_a_draft_has_the_models_cells_in_16_bits() -> None:
    """Qwen3-0.6B: 28 layers of 8 heads of 128, K and V, two bytes, 32,768 cells: 3,584 MiB, whatever the
    model's cache is in; its weights are those of a server of its own."""
    fit = ask("qwen3-14b", "qwen3-0.6b", cache_type_k="q8_0", cache_type_v="q8_0")
    device, host = fit.table.uses
    (draft,) = device.beside
    assert (draft.name, draft.cache_bytes) == ("draft", 3584 * MIB)
    own = [use.model_bytes for use in ask("qwen3-0.6b").table.uses]
    assert [draft.model_bytes, *(each.model_bytes for each in host.beside)] == own
    alone = ask("qwen3-14b", cache_type_k="q8_0", cache_type_v="q8_0").table.uses[0]
    assert (alone.free() or 0) - (device.free() or 0) == draft.taken(most=True)
    assert fit.command.endswith("-md DRAFT.gguf -ngld 99")


def test_states_have_a_row_for_each_token_that_may_be_taken_back() -> None:
    """llama.cpp's log of Qwen3.x 27B with three draft tokens: RS buffer 598.50 MiB, 149.62 without."""
    states = [
        fit.table.uses[0].cache_bytes
        for fit in (ask("qwen3.6-27b"), ask("qwen3.6-27b", "qwen3.5-4b"))
    ]
    assert mib(states[1] - states[0]) == "448.88"


@pytest.mark.parametrize(
    ("draft", "devices", "said"),
    [
        ("llama-3.2-1b", 1, "vocab_size: 128256, and qwen3-14b has 151936"),
        ("qwen3-0.6b", 2, "to several devices"),
    ],
)
def test_what_is_not_known_is_refused(draft: str, devices: int, said: str) -> None:
    with pytest.raises(UnsupportedError, match=said):
        ask("qwen3-14b", draft, devices)


def test_a_projector_is_what_the_server_loads() -> None:
    """llama-server's log of a Qwen3.x 27B: projector 887.99 MiB, of a file in BF16, whose patches are in
    F32 (conversion/base.py, MmprojModel.tensor_force_quant): 3.375 MiB more than in F16."""
    assert mib(projector_bytes(spec_of("qwen3.6-27b"))) == "884.62"


def test_a_projector_lies_on_the_first_device(capsys: Capture) -> None:
    """Gemma 3 4B's published file has 851,251,104 bytes, its header included: 811.81 MiB."""
    asked = ("--gpu", "rtx-4090", "--gpu", "rtx-4090", "--dtype", "q4_k_m", "--engine", "llama.cpp")
    _, shown, _ = run(capsys, "fit", "gemma-3-4b", *asked, "--images", "1")
    lines = [line.split() for line in shown.splitlines()]
    rows = [line[0] for line in lines if line and line[0] in ("rtx-4090", "+", "host")]
    assert rows == ["rtx-4090", "+", "rtx-4090", "host"]
    assert "811.79 MiB" in shown
    assert "--mmproj PROJECTOR.gguf" in shown


def test_without_layers_on_it_the_device_still_holds_the_projector(capsys: Capture) -> None:
    asked = (
        "--gpu",
        "rtx-4090",
        "--dtype",
        "q4_k_m",
        "-ngl",
        "0",
        "--images",
        "1",
        "--format",
        "json",
    )
    _, shown, _ = run(capsys, "fit", "gemma-3-4b", *asked)
    device = json.loads(shown)["devices"][0]
    assert (device["model_bytes"], device["outside_bytes"]) == (0, 1024 * MIB)
    (projector,) = device["beside"]
    assert (projector["model_bytes"], projector["compute_bytes"]) == (851_226_048, None)


def test_capacity_has_the_draft_where_it_has_a_device(capsys: Capture) -> None:
    """Qwen3-0.6B: 114,688 bytes a token in 16 bits, 8,192 tokens."""
    asked = ("capacity", "qwen3-8b", "--engine", "llama.cpp", "--draft", "qwen3-0.6b", "-c", "8k")
    _, shown, _ = run(capsys, *asked, "--gpu", "rtx-4090", "--dtype", "q4_k_m", "--format", "json")
    assert json.loads(shown)["devices"][0]["beside"][0]["cache_bytes"] == 8192 * 114_688
    status, _, said = run(capsys, *asked)
    assert status == 2
    assert "--gpu NAME" in said


def test_layers_that_predict_tokens_lie_behind_the_model() -> None:
    """Qwen3.5 9B's module in Q4_K_M, Q8_0 where its rule says so; 4 KV heads of 256 in F16 at 32,768 tokens
    are 128 MiB; states have a row for each of three tokens that may be taken back."""
    plain, drafting = ask("qwen3.5-9b"), ask("qwen3.5-9b", mtp_layers=1)
    alone, device = plain.table.uses[0], drafting.table.uses[0]
    assert (alone.layers, device.layers) == (33, 34)
    assert mib(device.model_bytes - alone.model_bytes) == "143.99"
    assert mib(device.cache_bytes - alone.cache_bytes) == "278.75"  # 128 and three rows of 50.25
    assert [each.name for each in device.beside] == ["MTP graph"]
    assert drafting.command.endswith("--spec-type draft-mtp")
    assert drafting.verdict == "tight"
    with pytest.raises(UnsupportedError, match="converter writes no layers of llama-3-8b"):
        ask("llama-3-8b", mtp_layers=1)


def test_what_drafts_has_types_of_its_own() -> None:
    """Q8_0 is 34 bytes for 32: 3,584 MiB of the draft's F16 become 1,904, a module's 128 become 68."""
    fit = ask("qwen3-14b", "qwen3-0.6b", cache_type_k_draft="q8_0", cache_type_v_draft="q8_0")
    (draft,) = fit.table.uses[0].beside
    assert draft.cache_bytes == 1904 * MIB
    assert fit.command.endswith("--cache-type-k-draft q8_0 --cache-type-v-draft q8_0")
    sizes = [
        ask("qwen3.5-9b", mtp_layers=1, **types).table.uses[0].cache_bytes
        for types in ({}, {"cache_type_k_draft": "q8_0", "cache_type_v_draft": "q8_0"})
    ]
    assert sizes[0] - sizes[1] == 60 * MIB
    with pytest.raises(UsageError, match="nothing drafts"):
        ask("qwen3-14b", cache_type_k_draft="q8_0")
