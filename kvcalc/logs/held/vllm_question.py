"""The flags of a vLLM log as ``kvcalc capacity`` takes them."""

import re

from kvcalc.deployment.hardware import Accelerator
from kvcalc.engines.vllm.flags import VllmFlags
from kvcalc.engines.vllm.versions import is_untagged
from kvcalc.errors import UnsupportedError
from kvcalc.logs.facts import Start
from kvcalc.logs.held.common import truth, whole, word
from kvcalc.memory.layout import Layout
from kvcalc.spec.model import ModelSpec


def question(start: Start, spec: ModelSpec, device: Accelerator | None) -> VllmFlags:
    """The flags of a log as ``kvcalc capacity`` takes them, without the memory.

    Raises UsageError for values that make no sense, UnsupportedError for drafters whose layers the log
    does not show.
    """
    layout = Layout(
        whole(start, "--tensor-parallel-size") or 1, whole(start, "--pipeline-parallel-size") or 1,
        whole(start, "--data-parallel-size") or 1, bool(truth(start, "--enable-expert-parallel")),
    )  # fmt: skip
    drafts, layers = _speculation(start, spec)
    version = None if start.version is None else str(start.version.value)
    if version is not None and is_untagged(version):
        version = None
    off = truth(start, "--disable-hybrid-kv-cache-manager")
    packed = start.value("kv_cache_format")
    return VllmFlags(
        engine_version=version,
        model_dtype=word(start, "--dtype") or "bf16",
        layout=layout,
        compute_capability=None if device is None else device.sm,
        eager=bool(truth(start, "--enforce-eager")),
        max_model_len=whole(start, "--max-model-len"),
        kv_dtype=str(packed) if packed is not None else word(start, "--kv-cache-dtype"),
        state_dtype=word(start, "--mamba-ssm-cache-dtype"),
        decode_context_parallel=whole(start, "--decode-context-parallel-size"),
        block_size=whole(start, "--block-size") if not start.of("block_tokens") else None,
        prefix_caching=truth(start, "--enable-prefix-caching"),
        hybrid_manager=False if off else None,
        pipeline_partition=_partition(start),
        max_num_batched_tokens=whole(start, "--max-num-batched-tokens"),
        max_num_seqs=whole(start, "--max-num-seqs"),
        async_scheduling=truth(start, "--async-scheduling"),
        speculative_tokens=drafts,
        mtp_layers=layers,
    )


def _partition(start: Start) -> tuple[int, ...] | None:
    said = start.flags.get("VLLM_PP_LAYER_PARTITION")
    return None if said is None else tuple(int(part) for part in str(said.value).split(","))


def _speculation(start: Start, spec: ModelSpec) -> tuple[int | None, int | None]:
    """(draft tokens, layers that draft)."""
    tokens, said = whole(start, "num_speculative_tokens"), start.flags.get("mtp_layers")
    method = start.flags.get("speculative_method")
    if tokens is None:
        return None, None
    if said is not None and isinstance(said.value, int):
        return tokens, said.value
    name = "" if method is None else str(method.value).lower()
    drafter = str(start.value("speculative_model") or "").lower()
    if re.search(r"gemma-?4.*assistant", drafter):
        return tokens, 0  # its layers read the caches of the model (v1/spec_decode/gemma4.py)
    if "ngram" in name or "suffix" in name:
        return tokens, 0
    if "mtp" in name or "nextn" in name or (not name and spec.mtp is not None):
        return tokens, spec.mtp.num_layers if spec.mtp is not None else 1
    line = method.line if method is not None else start.flags["num_speculative_tokens"].line
    raise UnsupportedError(
        f"line {line}: the layers of the drafter ({name or 'speculative decoding'}) "
        f"are not in the log, and "
        "each has a cache: give --mtp-layers N, as many as it has"
    )
