"""Tensor parallelism over two and four processes: every rank's bytes, outputs, wrong shards.

Each group of ranks is made once and verifies all its specs; numbers are counted by hand.
"""

import json
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch")

from kvcalc.errors import UnsupportedError
from kvcalc.spec.loader import load_spec_text
from kvcalc.tensors import ParamTensor, Part, Shard, split
from kvcalc.verify.shards import cut, refuse
from tests.verify.specs import SPECS, attention

pytestmark = pytest.mark.torch
HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
PLANTED = ("planted-order", "planted-replication", "planted-cache", "planted-place")
NAMES = (
    "gqa", "mqa", "gates", "window", "mla", "mamba2", "gated-deltanet", "encoder-decoder",
    "csa", "tpa", "rwkv7", "rg-lru", "mamba1", "short-conv", "lightning", "retnet", "nsa", "moa",
)  # fmt: skip


def torchrun(ranks: int, *arguments: str) -> subprocess.CompletedProcess[str]:
    assert find_spec("torch")
    return subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", str(ranks),
         "--master-port", str(29610 + ranks), *arguments],
        capture_output=True, text=True, cwd=ROOT, timeout=120, check=False,
    )  # fmt: skip


@pytest.fixture(scope="module")
def found() -> list[dict[str, Any]]:
    """What two ranks found, and what four did: one process that forks, so torch is imported once."""
    groups = (
        ("2", *NAMES, "experts", *PLANTED),
        ("4", "gqa", "mla", "mamba2", "experts"),
    )
    done = subprocess.run(
        [sys.executable, str(HERE / "ranks.py"), *(",".join(group) for group in groups)],
        capture_output=True, text=True, cwd=ROOT, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.fixture(scope="module")
def two(found: list[dict[str, Any]]) -> dict[str, Any]:
    return found[0]


@pytest.fixture(scope="module")
def four(found: list[dict[str, Any]]) -> dict[str, Any]:
    return found[1]


def test_two_ranks_agree_with_one(two: dict[str, Any]) -> None:
    for name in (*NAMES, "experts"):
        assert two[name]["passed"] == [True, True, True], two[name]["failures"]


def test_four_ranks_agree_with_one(four: dict[str, Any]) -> None:
    for name in ("gqa", "mla", "mamba2", "experts"):
        assert four[name]["passed"] == [True, True, True], four[name]["failures"]


def test_kv_heads_are_copied_when_there_are_fewer_than_ranks(
    two: dict[str, Any], four: dict[str, Any]
) -> None:
    # Two KV heads: one each on two ranks, and one each on four, where each head is held twice.
    assert {shape[1] for shape in two["gqa"]["cache"]["attention.key"]} == {1}
    assert {shape[1] for shape in four["gqa"]["cache"]["attention.key"]} == {1}
    # One KV head stands on both ranks.
    assert len(two["mqa"]["cache"]["attention.key"]) == 2
    assert {shape[1] for shape in two["mqa"]["cache"]["attention.key"]} == {1}


def test_latents_stand_on_every_rank(four: dict[str, Any]) -> None:
    shapes = four["mla"]["cache"]["attention.latent"]
    assert len(shapes) == 4
    assert len({tuple(shape) for shape in shapes}) == 1


def test_groups_are_copied_in_mamba2(two: dict[str, Any], four: dict[str, Any]) -> None:
    # 8 heads and 2 groups. Two ranks: 4 heads and a group each. Four ranks: 2 heads, each group twice.
    state = two["mamba2"]["cache"]["recurrent.ssm_state"][0]
    _, heads, channels, width = state
    assert heads == 4
    assert two["mamba2"]["cache"]["recurrent.conv_state"][0][1] == 4 * channels + 2 * width
    assert four["mamba2"]["cache"]["recurrent.conv_state"][0][1] == 2 * channels + 2 * width


def test_wrong_shards_are_caught(two: dict[str, Any]) -> None:
    order = two["planted-order"]
    assert order["passed"] == [True, True, False]
    assert "outputs differ from the whole model's" in order["failures"][0]
    replication = two["planted-replication"]
    assert replication["passed"][0] is False
    assert (
        "attention.k_proj.weight: formula [16, 64] on each rank, measured [8, 64]"
        in (replication["failures"][0])
    )
    # Every rank takes its heads' decays for those of the first heads.
    assert two["planted-place"]["passed"] == [True, True, False]
    cache = two["planted-cache"]
    assert cache["passed"] == [True, False, True]
    assert "rank 0: layers.0.attention.key: formula [1, 2, " in cache["failures"][0]


@pytest.mark.sweep
def test_the_command_prints_on_rank_0_only() -> None:
    done = torchrun(2, "-m", "kvcalc", "verify", "gpt2", "--tp", "2", "--format", "json")
    assert done.returncode == 0, done.stderr[-2000:]
    answer = json.loads(done.stdout)  # one object, not two
    (model,) = answer["models"]
    assert model["device"] == "2 x cpu"
    assert [proof["name"] for proof in model["proofs"]] == ["weights", "cache", "outputs"]
    assert model["passed"] is True


def test_a_mechanism_that_is_not_sharded_is_named() -> None:
    with pytest.raises(
        UnsupportedError, match=r"gla \(block a\) is not sharded here: a rank holds"
    ):
        refuse(load_spec_text(SPECS["gla"]), 2)
    # Two KV heads, whose queries choose blocks together; and whose caches are not copied in moa.
    with pytest.raises(UnsupportedError, match=r"over 4 ranks: nsa \(block a\) chooses blocks"):
        refuse(load_spec_text(SPECS["nsa"]), 4)
    with pytest.raises(UnsupportedError, match=r"over 4 ranks: layers.0.attention.key \[2, 8\]"):
        refuse(load_spec_text(SPECS["moa"]), 4)
    seven = attention("kind: mha, num_attention_heads: 7, num_key_value_heads: 7, head_dim: 8")
    with pytest.raises(
        UnsupportedError, match=r"q_proj.weight .* 7 cannot be divided among 2 ranks"
    ):
        refuse(load_spec_text(seven), 2)


def test_cuts_by_hand() -> None:
    import torch

    rows = torch.arange(6.0)
    column = ParamTensor("w", (6,), "attention", split(0, 6))
    assert cut(column, rows, 1, 2).tolist() == [3, 4, 5]
    # Two KV heads of three rows on four ranks: each head twice.
    copied = ParamTensor("w", (6,), "attention", Shard(0, (Part(6, 2, replicate=True),)))
    assert [cut(copied, rows, rank, 4).tolist() for rank in range(4)] == [
        [0, 1, 2], [0, 1, 2], [3, 4, 5], [3, 4, 5],
    ]  # fmt: skip
    # Two halves, gate and up: a rank gets a part of each.
    halves = ParamTensor("w", (6,), "experts", Shard(0, (Part(3, 3), Part(3, 3))))
    assert [cut(halves, rows, rank, 3).tolist() for rank in range(3)] == [[0, 3], [1, 4], [2, 5]]
    # A vocabulary of six on four ranks is padded to eight rows.
    padded = ParamTensor("w", (6,), "embedding", Shard(0, (Part(6, 6, pad=True),)))
    assert [cut(padded, rows, rank, 4).tolist() for rank in range(4)] == [
        [0, 1], [2, 3], [4, 5], [0, 0],
    ]  # fmt: skip
