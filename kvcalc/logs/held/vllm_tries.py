"""What a vLLM log does not say: the defaults, and the values that people give."""

from collections.abc import Iterator
from dataclasses import replace

from kvcalc.deployment.hardware import Accelerator
from kvcalc.engines.vllm import default_batch
from kvcalc.engines.vllm.flags import VllmFlags
from kvcalc.engines.vllm.versions import NEWEST
from kvcalc.errors import KvcalcError, UnsupportedError, UsageError
from kvcalc.logs.facts import Start
from kvcalc.logs.held.common import changed, one_or_two
from kvcalc.logs.held.vllm import Compared
from kvcalc.logs.held.vllm_question import question
from kvcalc.logs.vllm import PRINTED_AT
from kvcalc.memory.layout import Layout
from kvcalc.spec.model import ModelSpec
from kvcalc.units import GIB

# What is tried where the log does not say it, the likeliest first.
_RELEASES = ("0.24.0", "0.19.0", "0.12.0", "0.10.2", "0.8.5")
_BATCHES = (8192, 2048, 16384, 4096)
_DRAFTS = (1, 2, 3, 4)


def compare(
    start: Start, spec: ModelSpec, device: Accelerator | None
) -> tuple[Compared, tuple[str, ...]]:
    """The reading of the log under which its figures agree, and what was assumed for it.

    What the log says stands. What it does not say is vLLM's default; where that does not agree, the values
    that people give are tried, one at a time, then two, and the one that agrees is named as an assumption.
    """
    stated = question(start, spec, device)
    usual, said = _defaults(start, stated, device)
    first: Compared | None = None
    problem: KvcalcError | None = None
    for changes in _tries(start, usual, spec):
        try:
            found = Compared(spec, changed(usual, changes), start)
            rows = list(found.observations())
        except KvcalcError as error:
            problem = problem or error
            if not changes and not isinstance(error, UsageError | UnsupportedError):
                raise
            continue
        if first is None and not changes:
            first = found
        if all(row.agrees is not False for row in rows):
            assumed = [_assumed(start, name, value) for name, value in changes]
            told = {name for name, _ in changes}
            kept = [each for each in said if _of(each) not in told]
            return found, (*kept, *assumed)
    if first is None:
        raise problem or UsageError("the log's flags make no question")
    return first, said


def _defaults(
    start: Start, request: VllmFlags, device: Accelerator | None
) -> tuple[VllmFlags, tuple[str, ...]]:
    """vLLM's own choice of the batch, by the device's memory, where the log does not say it."""
    said = []
    if request.engine_version is None:
        version, why = _release(start)
        request = replace(request, engine_version=version)
        said.append(f"the release: not in the log, {why}")
    if request.max_num_batched_tokens is None:
        total = start.memory.get("device")
        if device is not None:
            batch = default_batch(device).tokens
            request = replace(request, max_num_batched_tokens=batch)
        elif total is not None:
            batch = 16384 if total.value >= 160 * GIB else 8192 if total.value >= 70 * GIB else 2048
            request = replace(request, max_num_batched_tokens=batch)
    for words, missing in (
        (
            "--tensor-parallel-size: not in the log, 1 taken",
            "--tensor-parallel-size" not in start.flags,
        ),
        ("--kv-cache-dtype: not in the log, auto taken", "--kv-cache-dtype" not in start.flags),
    ):
        if missing:
            said.append(words)
    return request, tuple(said)


def _release(start: Start) -> tuple[str | None, str]:
    """The release whose words a log has, where it does not say which."""
    at = start.dims.get("printed at")
    if at is not None and at.value in PRINTED_AT:
        version = PRINTED_AT[int(at.value)]
        return version, f"line {at.value} of kv_cache_utils.py is that of {version}"
    if start.of("cpu_blocks"):
        return "0.7.3", "the rules of the first engine taken (CPU blocks)"
    tokens, held = start.of("tokens"), start.of("max_concurrency")
    if tokens and held and tokens[0].line != held[0].line:
        return "0.27.0", "the rules of 0.27.0 taken, the newest that prints two lines"
    return None, f"the rules of {NEWEST} taken"


def _tries(
    start: Start, request: VllmFlags, spec: ModelSpec
) -> Iterator[tuple[tuple[str, object], ...]]:
    """Values for what the log does not say: none, one, then two of them."""
    layout = request.layout
    choices: list[tuple[str, tuple[object, ...]]] = []
    if "--tensor-parallel-size" not in start.flags:
        choices.append(("layout", tuple(replace(layout, tensor=ranks) for ranks in (2, 4, 8))))
    if start.version is None and "printed at" not in start.dims:
        choices.append(("engine_version", _RELEASES))
    if "--max-num-batched-tokens" not in start.flags:
        choices.append(("max_num_batched_tokens", _BATCHES))
    if "--kv-cache-dtype" not in start.flags or (
        # 'auto' is what a quantised checkpoint declares, in the releases that print it so.
        start.value("--kv-cache-dtype") == "auto" and start.value("--quantization") is not None
    ):
        choices.append(("kv_dtype", ("fp8",)))
    if "--enable-prefix-caching" not in start.flags:
        choices.append(("prefix_caching", (True, False)))
    if "--block-size" not in start.flags:
        choices.append(("block_size", (32, 64, 128)))
    tries = list(one_or_two(choices))
    alone = 1 + sum(len(values) for _, values in choices)
    yield from tries[:alone]
    if "arguments" not in start.dims and request.speculative_tokens is None:
        yield from _own_drafts(spec)
    yield from tries[alone:]


def _own_drafts(spec: ModelSpec) -> Iterator[tuple[tuple[str, object], ...]]:
    """A model's own draft layers, which change what a request holds of states."""
    if spec.mtp is None:
        return
    for tokens in _DRAFTS:
        told = (("speculative_tokens", tokens), ("mtp_layers", spec.mtp.num_layers))
        yield told
        for cached in (True, False):
            yield (*told, ("prefix_caching", cached))


def _of(said: str) -> str:
    """The field that a sentence of ``_defaults`` is about."""
    return {
        "the": "engine_version",
        "--tensor-parallel-size:": "layout",
        "--kv-cache-dtype:": "kv_dtype",
    }[said.split()[0]]


def _assumed(start: Start, name: str, value: object) -> str:
    if name == "kv_dtype" and "--kv-cache-dtype" in start.flags:
        return f"--kv-cache-dtype auto: {value}, which the checkpoint declares; the figures agree with it"
    shown = {
        "layout": f"--tensor-parallel-size {value.tensor if isinstance(value, Layout) else value}",
        "engine_version": f"the rules of {value}", "kv_dtype": f"--kv-cache-dtype {value}",
        "max_num_batched_tokens": f"--max-num-batched-tokens {value}",
        "prefix_caching": f"--{'' if value else 'no-'}enable-prefix-caching",
        "block_size": f"--block-size {value}",
        "speculative_tokens": f"--speculative-config with {value} draft tokens",
        "mtp_layers": f"{value} of the model's own layers that draft",
    }[name]  # fmt: skip
    return f"{shown}: not in the log, and the figures agree with it"
