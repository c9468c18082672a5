"""TensorRT-LLM's host pool (``host_cache_size``): blocks beside the GPU's, on each rank.

Rules, as read from TensorRT-LLM 1.0 to 1.2 (_torch/pyexecutor/resource_manager.py,
KVCacheManager.calculate_max_num_blocks):

* host_cache_size is in bytes of one rank: int(size / bytes of a token / tokens_per_block) blocks;
* a rank's block is the GPU's: latents are whole on every rank, and are stored by every rank;
* there is no disk tier;
* models with several windows have pools that share the size: they are refused here.

Worked number: Llama 3 8B at TP 1: 200 GiB are 51,200 blocks of 32 tokens, 1,638,400 tokens.
"""

from dataclasses import replace

from kvcalc.engines import engine_of
from kvcalc.engines.engine import Setting
from kvcalc.engines.tensorrt_llm.rank import BLOCK_TOKENS, rank_of, stages_of
from kvcalc.engines.tensorrt_llm.versions import VERSION
from kvcalc.errors import UnsupportedError, UsageError
from kvcalc.spec.model import ModelSpec
from kvcalc.tiers.question import TierQuestion
from kvcalc.tiers.storage import Plan, Storage


def plan(spec: ModelSpec, question: TierQuestion) -> Plan:
    """TensorRT-LLM's host pool. Raises UnsupportedError for pools that are not accounted for."""
    layout = question.workload.layout
    if layout.pipeline > 1:
        raise UnsupportedError(
            "a host pool of pipeline stages is not accounted for: ask with --tp alone"
        )
    if question.chunk_tokens is not None:
        raise UsageError(
            "--chunk: TensorRT-LLM moves blocks: --block-size says how many tokens they have"
        )
    setting = Setting(workload=question.workload, kv_dtype=question.kv_dtype,
                      engine_version=question.engine_version)  # fmt: skip
    request = engine_of("tensorrt-llm").serve(setting)
    if question.block_tokens is not None:
        request = replace(request, block_size=question.block_tokens)
    (stage,) = stages_of(spec, 1)
    rank = rank_of(spec, request, stage)
    if len(rank.windows) != 1 or rank.state_layers:
        raise UnsupportedError(
            f"{spec.name} has several pools (windows or states): how host_cache_size is shared among "
            "them is not accounted for"
        )
    (pool,) = rank.windows.values()
    block = request.block_size or BLOCK_TOKENS
    ranks = layout.tensor
    block_bytes = pool.token_bytes * block
    host = Storage(
        name="host", unit="block", unit_tokens=block, unit_bytes=block_bytes * ranks,
        units=lambda tokens: tokens // block, kept=lambda tokens: tokens // block * block,
        count=lambda size: size // ranks // block_bytes, least=block_bytes * ranks,
        flag=lambda size: f"kv_cache_config.host_cache_size: {size // ranks}",
    )  # fmt: skip
    return Plan(
        engine="tensorrt-llm", words="TensorRT-LLM",
        version=question.engine_version or VERSION, tiers=(host,),
        rules=("host_cache_size is bytes of each rank (calculate_max_num_blocks)",
               "whole blocks alone are reused"),
    )  # fmt: skip
