"""``kvcalc verify``: formats, exit status, what goes to stderr, what it says without torch."""

import json
from collections.abc import Iterator
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import typer

from kvcalc.attention.mha_mqa_gqa import SoftmaxAttention
from kvcalc.cli.verify import verify
from kvcalc.errors import MissingExtraError, NotFoundError, UsageError
from kvcalc.report.formats import PRINTERS
from kvcalc.tensors import CacheTensor
from kvcalc.verify import question
from tests.verify.specs import SPECS

needs_torch = pytest.mark.skipif(find_spec("torch") is None, reason="torch is not installed")
needs_transformers = pytest.mark.skipif(
    find_spec("torch") is None or find_spec("transformers") is None,
    reason="transformers is not installed",
)


@pytest.fixture(scope="module")
def verified() -> dict[tuple[str, Any], Any]:
    """What was verified once, in the formats that are asked for afterwards."""
    return {}


@pytest.fixture
def once(verified: dict[tuple[str, Any], Any], monkeypatch: pytest.MonkeyPatch) -> None:
    right = question.verified

    def remembered(spec: Any, asked: Any, say: Any) -> Any:
        if (spec.name, asked) not in verified:
            verified[spec.name, asked] = right(spec, asked, say)
        return verified[spec.name, asked]

    monkeypatch.setattr(question, "verified", remembered)


def test_models_or_all_but_not_both() -> None:
    with pytest.raises(UsageError, match="--all"):
        verify()
    with pytest.raises(UsageError, match="--all"):
        verify(["gpt2"], every=True)


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_a_context_that_is_no_token_count_is_a_usage_error(device: str) -> None:
    with pytest.raises(UsageError, match="--context: 'abc' is not a token count"):
        verify(["gpt2"], device=device, context="abc")


def test_without_torch_the_install_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(question, "find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match=r"pip install 'kvcalc\[verify\]'"):
        verify(["gpt2"])


def test_without_transformers_the_install_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(question, "find_spec", lambda name: name == "torch" or None)
    with pytest.raises(MissingExtraError, match=r"pip install 'kvcalc\[hf\]'"):
        verify(["gpt2"], against="transformers")


@needs_torch
@pytest.mark.torch
def test_without_a_gpu_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(NotFoundError, match="finds no CUDA device here"):
        verify(["gpt2"], device="cuda")


@needs_torch
@pytest.mark.torch
def test_ranks_need_torchrun() -> None:
    with pytest.raises(
        UsageError, match="torchrun --nproc-per-node 2 -m kvcalc verify gpt2 --tp 2"
    ):
        verify(["gpt2"], tp=2)


def test_transformers_are_compared_on_the_meta_device() -> None:
    with pytest.raises(UsageError, match="no --device, no --tp"):
        verify(["gpt2"], against="transformers", tp=2)


@needs_torch
@pytest.mark.torch
@pytest.mark.usefixtures("once")
def test_json_holds_every_tensor(capsys: pytest.CaptureFixture[str]) -> None:
    verify(["llama-3-8b"], format="json")
    out, err = capsys.readouterr()
    answer = json.loads(out)
    assert answer["passed"] is True
    (model,) = answer["models"]
    assert [proof["name"] for proof in model["proofs"]] == [
        "parameters", "cache", "sufficient", "necessary",
    ]  # fmt: skip
    parameters = model["proofs"][0]
    assert parameters["formula_total"] == parameters["measured_total"] == 8_030_261_248
    row = next(row for row in parameters["rows"] if row["tensor"].endswith("k_proj.weight"))
    assert row["tensor"] == "layers.0-31.attention.k_proj.weight"
    assert row["measured"] == {"shape": [1024, 4096], "dtype": "bf16", "bytes": 8_388_608}
    assert err == ""  # progress is for terminals


@needs_torch
@pytest.mark.torch
@pytest.mark.parametrize("format", PRINTERS)
def test_a_mismatch_ends_with_status_1(
    format: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    right = SoftmaxAttention.cache

    def wrong(self: Any) -> Iterator[CacheTensor]:
        for tensor in right(self):
            yield replace(tensor, shape=(tensor.shape[0] + 1, tensor.shape[1]))

    # Heads that no other test has: what was asked of a mechanism is remembered, the fault as well.
    own = tmp_path / "own.yaml"
    own.write_text(SPECS["mha"].replace("head_dim: 8", "head_dim: 23"), "utf-8")
    monkeypatch.setattr(SoftmaxAttention, "cache", wrong)
    with pytest.raises(typer.Exit) as status:
        verify([str(own)], format=format)
    assert status.value.exit_code == 1
    assert "layers.0.attention.key after " in capsys.readouterr().out


@needs_torch
@pytest.mark.torch
@pytest.mark.usefixtures("once")
@pytest.mark.parametrize("format", ["table", "markdown"])
def test_many_models_are_summarised(format: str, capsys: pytest.CaptureFixture[str]) -> None:
    verify(["gpt2", "gemma-3-1b", "llama-3-8b", "bert-base-uncased"], format=format)
    out, err = capsys.readouterr()
    assert "4 of 4 models passed all proofs" in out
    assert "999,885,952" in out
    assert "n/a" in out  # an encoder has no cache to prove anything of
    assert err == ""


@needs_transformers
@pytest.mark.hf
@pytest.mark.usefixtures("once")
@pytest.mark.parametrize("format", ["table", "markdown"])
def test_models_without_a_twin_are_not_said_to_pass(
    format: str, capsys: pytest.CaptureFixture[str]
) -> None:
    verify(["ouro-1.4b", "gpt2", "step-3", "all-minilm-l6-v2"], against="transformers",
           format=format)  # fmt: skip
    out, _ = capsys.readouterr()
    assert "2 of 2 models passed all proofs; 2 had nothing to compare with" in out
    assert "ouro-1.4b: Ouro is remote code" in out
    assert "not run" not in out
