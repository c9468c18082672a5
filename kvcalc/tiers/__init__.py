"""The cache beyond the GPU: what engines keep of sessions in RAM and on disk.

One file for each engine: it says what unit the engine stores, how many bytes one has on all ranks and
how many a session takes (``Storage``); ``answer.py`` does the sums. Adding one is a file and a line here.
"""

from collections.abc import Callable
from importlib import import_module
from typing import TYPE_CHECKING

from kvcalc.errors import UsageError
from kvcalc.spec.words import near

if TYPE_CHECKING:
    from kvcalc.spec.model import ModelSpec
    from kvcalc.tiers.question import TierQuestion
    from kvcalc.tiers.storage import Plan

TIERED = {
    "vllm": "kvcalc.tiers.vllm",
    "sglang": "kvcalc.tiers.sglang",
    "lmcache": "kvcalc.tiers.lmcache",
    "tensorrt-llm": "kvcalc.tiers.tensorrt_llm",
}


def plan_of(engine: str) -> "Callable[[ModelSpec, TierQuestion], Plan]":
    """An engine's rules. Raises UsageError for one without tiers."""
    if engine not in TIERED:
        known = ", ".join(TIERED)
        raise UsageError(f"--engine {engine}: of {known} tiers are known{near(engine, TIERED)}")
    plan: Callable[[ModelSpec, TierQuestion], Plan] = import_module(TIERED[engine]).plan
    return plan
