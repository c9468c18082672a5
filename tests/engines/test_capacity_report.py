"""The contract's JSON of ``capacity``, and the reports for people."""

import json

from kvcalc.engines.request import Available
from kvcalc.engines.result import CapacityResult
from kvcalc.engines.vllm.flags import VllmFlags
from kvcalc.engines.vllm.pool import capacity
from kvcalc.report.answers import answer as said
from kvcalc.report.formats import as_text
from kvcalc.spec.catalog import load


def answer() -> CapacityResult:
    request = VllmFlags(
        available=Available.parse("109.86GiB"), engine_version="0.10.2", max_model_len=4096
    )
    return capacity(load("gemma-3-27b"), request)


def test_json_has_the_fields_of_the_contract() -> None:
    found = json.loads(as_text("json", said(answer())))
    assert found["engine"] == {"name": "vllm", "version": "0.10.2"}
    assert found["pool"]["tokens"] == 205696
    assert round(found["pool"]["max_concurrency"], 2) == 50.05
    assert set(found["pool"]) == {
        "available_bytes", "block_tokens", "bytes_per_block", "num_blocks", "tokens",
        "max_concurrency", "blocks_per_request", "bytes_per_request", "estimated_max_model_len",
        "bytes",
    }  # fmt: skip
    window = found["groups"][0]
    assert (window["layers"], window["padding_layers"], window["page_bytes"]) == (52, 8, 131072)
    assert {"cause", "bytes"} <= set(found["waste"][0])
    assert found["caches"] == []
    assert found["pool"]["bytes"] is None


def test_table_reads_like_the_log_with_the_reasons() -> None:
    text = as_text("table", said(answer()))
    for words in ("205,696", "50.05x", "padding layers", "tokens in flight", "7 groups of 10"):
        assert words in text


def test_markdown_has_the_same_figures() -> None:
    text = as_text("markdown", said(answer()))
    assert "| cache size in tokens | 205,696 |" in text
    assert "| gqa window 1024 | 52 | 8 |" in text
