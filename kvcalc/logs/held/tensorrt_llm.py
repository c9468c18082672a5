"""TensorRT-LLM's figures held against ``kvcalc capacity --engine tensorrt-llm`` of the same flags.

The free memory of its log, the tokens of its pool and the bytes that these take: each is worked out from
the one before.
"""

from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction

from kvcalc.deployment.hardware import Accelerator
from kvcalc.engines.request import Available
from kvcalc.engines.result import CapacityResult
from kvcalc.engines.tensorrt_llm.flags import TensorrtLlmFlags
from kvcalc.engines.tensorrt_llm.pool import FREE_FRACTION, capacity
from kvcalc.errors import KvcalcError, UsageError
from kvcalc.logs.answer import Advice, Item, LogAnswer, Observation
from kvcalc.logs.facts import Figure, Start
from kvcalc.logs.held.common import (
    agreeing,
    changed,
    command,
    distinct,
    near,
    observed,
    one_or_two,
    whole,
    word,
)
from kvcalc.logs.parts import parts_of
from kvcalc.memory.layout import Layout
from kvcalc.spec.catalog import Found
from kvcalc.spec.model import ModelSpec


def answer(
    start: Start, found: Found, called: str, device: Accelerator | None, notes: tuple[str, ...]
) -> LogAnswer:
    compared, assumed = compare(start, found.spec)
    rows = tuple(compared.observations())
    return LogAnswer(
        **parts_of(start, found), rules=compared.of_tokens.version, observations=rows,
        advice=tuple(_advice(compared, called)), memory=tuple(_memory(compared)), assumed=assumed,
        notes=(*notes, *compared.of_tokens.notes),
    )  # fmt: skip


def question(start: Start) -> TensorrtLlmFlags:
    """The flags of a log, without memory or tokens."""
    share = start.value("free_gpu_memory_fraction")
    return TensorrtLlmFlags(
        engine_version=None if start.version is None else str(start.version.value),
        model_dtype=word(start, "--dtype") or "bf16",
        layout=Layout(whole(start, "--tp_size") or 1, whole(start, "--pp_size") or 1),
        max_model_len=whole(start, "--max_seq_len"),
        kv_dtype=word(start, "kv_cache_dtype"),
        block_size=whole(start, "tokens_per_block"),
        max_num_seqs=whole(start, "--max_batch_size"),
        memory_utilization=None if share is None else Fraction(str(share)),
    )


class Compared:
    """One reading of a log's inputs. of_tokens: the pool that its tokens make; of_memory: that its
    free memory makes."""

    def __init__(self, spec: ModelSpec, request: TensorrtLlmFlags, start: Start) -> None:
        self.spec, self.request, self.start = spec, request, start
        tokens, memory = start.of("tokens"), start.of("available_bytes")
        if not tokens and not memory:
            raise UsageError(
                f"lines {start.first} to {start.last} say neither tokens nor free memory"
            )
        self.of_memory: CapacityResult | None = None
        if memory:
            least = min(memory, key=lambda figure: figure.value)
            available = Available(int(least.value), max(0, int(least.least)), int(least.most))
            most = whole(start, "max_tokens")
            self.of_memory = capacity(spec, replace(request, available=available, tokens=most))
        made = self.of_memory.pool.tokens if self.of_memory is not None else None
        number = int(tokens[-1].value) if tokens else made
        self.of_tokens = capacity(spec, replace(request, tokens=number))

    def observations(self) -> Iterator[Observation]:
        for figure in distinct(self.start.figures):
            found = self._observe(figure)
            if found is not None:
                yield found

    def _observe(self, figure: Figure) -> Observation | None:
        # A profiling run allocates a pool of its own before.
        beside = next((each for each in self.start.of("tokens") if each.line == figure.line), None)
        of_tokens = self.of_tokens
        if beside is not None and beside.value != of_tokens.pool.tokens:
            of_tokens = capacity(self.spec, replace(self.request, tokens=int(beside.value)))
        pool = of_tokens.pool
        match figure.quantity:
            case "bytes_per_token":
                block = pool.block_tokens or 1
                size = (
                    sum(
                        group.page_bytes or 0
                        for group in of_tokens.groups
                        for _ in range(group.layers)
                    )
                    // block
                )
                return observed(
                    figure, size, size, size, size == figure.value, "a token in all layers"
                )
            case "available_bytes":
                return observed(
                    figure, None, None, None, None, "what the tokens are worked out from"
                )
            case "bytes":
                size = pool.bytes or 0
                return observed(
                    figure,
                    size,
                    size,
                    size,
                    near(size, figure),
                    "the pool's tokens times the bytes of one",
                )
            case "tokens" | "num_blocks":
                return self._counted(figure, of_tokens)
        return None

    def _counted(self, figure: Figure, of_tokens: CapacityResult) -> Observation | None:
        made = self.of_memory
        if made is None:
            pool = of_tokens.pool
            value = int((pool.tokens if figure.quantity == "tokens" else pool.num_blocks) or 0)
            # The C++ runtime prints the tokens that were asked for before they fill whole blocks.
            agrees = figure.value == value or (
                figure.quantity == "tokens" and 0 <= value - figure.value < (pool.block_tokens or 1)
            )
            return observed(
                figure, value, value, value, agrees, "in whole blocks; the log gives no memory"
            )
        least, most = made.pool_range or (made.pool, made.pool)
        low, value, high = (
            int((each.tokens if figure.quantity == "tokens" else each.num_blocks) or 0)
            for each in (least, made.pool, most)
        )
        share = float(self.request.memory_utilization or FREE_FRACTION)
        return observed(
            figure, value, low, high, low <= figure.value <= high, f"{share:g} of the free memory"
        )


def compare(start: Start, spec: ModelSpec) -> tuple[Compared, tuple[str, ...]]:
    """The reading under which the figures agree, and what was assumed for it."""
    stated = question(start)
    found, changes = agreeing(
        _tries(start, stated), lambda changes: Compared(spec, changed(stated, changes), start)
    )
    return found, tuple(_assumed(name, value) for name, value in changes or ())


def _tries(start: Start, request: TensorrtLlmFlags) -> Iterator[tuple[tuple[str, object], ...]]:
    choices: list[tuple[str, tuple[object, ...]]] = []
    if "kv_cache_dtype" not in start.flags:
        choices.append(("kv_dtype", ("fp8",)))
    if "--tp_size" not in start.flags:
        choices.append(("layout", (Layout(2), Layout(4), Layout(8))))
    if "tokens_per_block" not in start.flags:
        choices.append(("block_size", (64, 128)))
    if start.version is None:
        choices.append(("engine_version", ("1.1", "0.17")))
    if "free_gpu_memory_fraction" not in start.flags:
        choices.append(
            ("memory_utilization", (Fraction(17, 20), Fraction(19, 20), Fraction(99, 100)))
        )
    yield from one_or_two(choices)


def _assumed(name: str, value: object) -> str:
    option = {
        "layout": "--tp_size", "kv_dtype": "kv_cache_dtype", "block_size": "tokens_per_block",
        "engine_version": "the rules of", "memory_utilization": "free_gpu_memory_fraction",
    }[name]  # fmt: skip
    shown = (
        value.tensor
        if isinstance(value, Layout)
        else float(value)
        if isinstance(value, Fraction)
        else value
    )
    return f"{option} {shown}: not in the log, and the figures agree with it"


def _memory(compared: Compared) -> Iterator[Item]:
    total = compared.start.memory.get("device")
    if total is not None:
        yield Item(name="the device", bytes=int(total.value), line=total.line)
    for figure in compared.start.of("available_bytes")[:1]:
        yield Item(name="free after loading", bytes=int(figure.value), line=figure.line, depth=1)
    for cache in compared.of_tokens.caches:
        yield Item(
            name=f"pool: {cache.name}", bytes=cache.bytes, depth=1, why=f"{cache.layers} layers"
        )


def _advice(compared: Compared, called: str) -> Iterator[Advice]:
    request = compared.request
    pool = compared.of_tokens.pool
    have = pool.tokens or 1
    # All of what the pool takes, so that a narrower token gives more of them.
    size = Available.exactly(pool.bytes or 1)
    base = replace(request, available=size, memory_utilization=Fraction(1))
    tried: list[tuple[int, Advice]] = []
    changes: list[tuple[str, TensorrtLlmFlags]] = []
    if request.kv_dtype is None:
        changes.append(("kv_cache_dtype fp8", replace(base, kv_dtype="fp8")))
    doubled = replace(request.layout, tensor=2 * request.layout.tensor)
    changes.append((f"--tp_size {doubled.tensor}", replace(base, layout=doubled)))
    memory = compared.start.of("available_bytes")
    share = request.memory_utilization or FREE_FRACTION
    if memory and share < Fraction(95, 100):
        free = Available.exactly(int(memory[0].value))
        changes.append(
            (
                "free_gpu_memory_fraction 0.95",
                replace(base, available=free, memory_utilization=Fraction(95, 100)),
            )
        )
    for change, asked in changes:
        try:
            tokens = capacity(compared.spec, asked).pool.tokens or 0
        except KvcalcError:
            continue
        if tokens * 100 >= have * 103:
            said = f"{tokens:,} tokens instead of {have:,}"
            tried.append((tokens, Advice(change, said, command("tensorrt-llm", called, asked))))
    tried.sort(key=lambda each: -each[0])
    yield from (each for _, each in tried[:3])
