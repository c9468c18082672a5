"""What a vLLM pool went to, and the changes of its flags that give most, each worked out as a pool."""

from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction

from kvcalc.deployment.hardware import Accelerator
from kvcalc.engines.request import Available
from kvcalc.engines.result import Pool
from kvcalc.engines.vllm.flags import VllmFlags
from kvcalc.engines.vllm.plan import Plan
from kvcalc.engines.vllm.pool import capacity
from kvcalc.errors import KvcalcError
from kvcalc.logs.answer import Advice, Item
from kvcalc.logs.held.common import command, truth
from kvcalc.logs.held.vllm import Compared
from kvcalc.units import format_as_logged

# What people give a server that has its GPU for itself.
_MOST_SHARE = Fraction(95, 100)
# A change that gives less than this more is not worth a line.
_LEAST_GAIN = Fraction(103, 100)
MOST_ADVICE = 3


class Pooled:
    """The pool of a log: the memory, and what it holds."""

    def __init__(self, compared: Compared, model: str, device: Accelerator | None) -> None:
        self.compared, self.model, self.device = compared, model, device
        self.start, self.request = compared.start, compared.request
        memory = compared.available
        blocks = compared.blocks
        size = memory.bytes if memory is not None else (blocks or 1) * compared.block_bytes
        if blocks is not None and memory is not None:
            size = max(memory.least, blocks * compared.block_bytes)
        self.bytes = max(size, compared.block_bytes)
        self.pool = compared.plan.pool(self.bytes)
        least = min((int(figure.value) for figure in compared.memories), default=self.bytes)
        # vLLM prints what is left, below nothing, too.
        self.short = least < compared.block_bytes
        if self.short:
            self.bytes, self.pool = least, replace(self.pool, max_concurrency=Fraction(0))

    def with_memory(self, request: VllmFlags, num_bytes: int) -> Pool | None:
        try:
            found = capacity(
                self.compared.spec, replace(request, available=Available.exactly(num_bytes))
            )
        except KvcalcError:
            return None
        return found.pool

    def command(self, request: VllmFlags, num_bytes: int) -> str:
        asked = replace(request, available=Available.exactly(num_bytes), compute_capability=None)
        gpu = None if self.device is None or not self.device.vendor else self.device.name
        return command("vllm", self.model, asked, **{"--gpu": gpu})


def memory_items(pooled: Pooled) -> Iterator[Item]:
    """Where a device's memory went, as the log says it."""
    start, logged = pooled.start, pooled.start.memory
    total = logged.get("device")
    share = start.value("--gpu-memory-utilization")
    if total is not None:
        yield Item(name="the device", bytes=int(total.value), line=total.line)
        if isinstance(share, int | float) and not isinstance(share, bool) and 0 < share <= 1:
            left = int(total.value * (1 - Fraction(str(share))))
            yield Item(name="left to others", bytes=left, depth=1,
                       why=f"--gpu-memory-utilization {share:g}",
                       line=start.flags["--gpu-memory-utilization"].line)  # fmt: skip
    for name in ("weights", "activation peak", "libraries", "CUDA graphs"):
        figure = logged.get(name)
        if figure is not None:
            yield Item(name=name, bytes=int(figure.value), line=figure.line, depth=1)
    line = pooled.compared.memories[0].line if pooled.compared.memories else 0
    yield Item(name="the cache", bytes=pooled.bytes, line=line, depth=1,
               why="more than there is" if pooled.bytes < 0 else "")  # fmt: skip


def request_items(pooled: Pooled) -> Iterator[Item]:
    """One request of the longest length: its need, and what makes it more."""
    compared = pooled.compared
    result = compared.result()
    if result.logical_bytes_per_request is None:
        return
    waste = [
        each
        for each in result.waste
        if each.per_request and each.bytes and each.cause != "replication"
    ]
    whole = result.logical_bytes_per_request + sum(each.bytes for each in waste)
    yield Item(name="one request", bytes=whole, why=f"{compared.plan.max_model_len:,} tokens")
    yield Item(name="what the attention needs", bytes=result.logical_bytes_per_request, depth=1,
               why="on the fullest device")  # fmt: skip
    for each in sorted(waste, key=lambda one: -one.bytes):
        yield Item(name=each.cause, bytes=each.bytes, depth=1, why=each.why)
    for each in result.waste:
        if each.cause == "replication" and each.bytes:
            yield Item(
                name="of it copies of other ranks' heads", bytes=each.bytes, depth=1, why=each.why
            )


def verdict(pooled: Pooled) -> Iterator[str]:
    """In words: what the concurrency means."""
    pool, length = pooled.pool, pooled.compared.plan.max_model_len
    if pool.max_concurrency is None or pool.tokens is None:
        return
    need = pool.bytes_per_request or 0
    if pooled.short:
        yield (
            f"No room is left for the cache: {format_as_logged(need)} are needed for one request of "
            f"{length:,} tokens, and there are {format_as_logged(pooled.bytes)}. vLLM does not start: "
            "weights and all else have to take less, or vLLM to be given more."
        )
        return
    held = f"{float(pool.max_concurrency):.2f}"
    if pool.max_concurrency < 1:
        yield (
            f"One request of {length:,} tokens takes {format_as_logged(need)}, and there are "
            f"{format_as_logged(pooled.bytes)}: vLLM does not start. The longest that fits is "
            f"{pool.estimated_max_model_len or 0:,} tokens."
        )
        return
    # What some releases state as needed leaves groups out; the pool's own blocks do not.
    whole = next((item.bytes for item in request_items(pooled)), need)
    yield (
        f"One request of {length:,} tokens takes {format_as_logged(whole)} of "
        f"{format_as_logged(pooled.bytes)}: {held} of "
        "them at once. Shorter requests take less: the server runs more of those, "
        "and queues what does not fit."
    )


def limits(pooled: Pooled) -> Iterator[str]:
    """What limits: the weights' part of what vLLM may use, and the largest part of a request that is
    no need of the model's."""
    logged, start = pooled.start.memory, pooled.start
    total, weights, share = (
        logged.get("device"),
        logged.get("weights"),
        start.value("--gpu-memory-utilization"),
    )
    if total is not None and weights is not None and isinstance(share, float):
        may = int(total.value * Fraction(str(share)))
        if weights.value * 2 >= may:
            yield (
                f"The weights limit it: {format_as_logged(int(weights.value))} of the "
                f"{format_as_logged(may)} that vLLM may use on a device."
            )
    items = list(request_items(pooled))
    wasted = [each for each in items[2:] if each.why and not each.name.startswith("of it")]
    if wasted and items[0].bytes and wasted[0].bytes * 20 >= items[0].bytes:
        first = wasted[0]
        yield (
            f"{first.bytes * 100 // items[0].bytes} % of a request is beyond what the attention needs: "
            f"{first.name} ({first.why})."
        )


def advice(pooled: Pooled) -> tuple[Advice, ...]:
    """The changes that give most, the largest first."""
    found = []
    for change, request, num_bytes, more in _changes(pooled):
        pool = pooled.with_memory(request, num_bytes)
        if pool is None or pool.max_concurrency is None:
            continue
        before = pooled.pool.max_concurrency or Fraction(1, 1 << 30)
        gain = pool.max_concurrency / before
        if gain < _LEAST_GAIN:
            continue
        length = request.max_model_len or pooled.compared.plan.max_model_len
        effect = (
            f"{float(pool.max_concurrency):.2f}x at {length:,} tokens instead of "
            f"{float(pooled.pool.max_concurrency or 0):.2f}x{more}"
        )
        found.append((gain, Advice(change, effect, pooled.command(request, num_bytes))))
    found.sort(key=lambda each: -each[0])
    best = [each for _, each in found]
    shorter = next((each for each in best if each.change.startswith("--max-model-len")), None)
    if shorter in best[MOST_ADVICE:] and (pooled.pool.max_concurrency or 1) < 1:
        # What starts the server as it is is always said.
        best.insert(MOST_ADVICE - 1, shorter)
    return tuple(best[:MOST_ADVICE])


_Change = tuple[str, VllmFlags, int, str]


def _changes(pooled: Pooled) -> Iterator[_Change]:
    """(as vLLM spells it, the question with it, the memory with it, what else is to be said)."""
    request, size, start = pooled.request, pooled.bytes, pooled.start
    plan = pooled.compared.plan
    if request.kv_dtype is None:
        yield (
            "--kv-cache-dtype fp8",
            replace(request, kv_dtype="fp8"),
            size,
            "; keys and values of a byte",
        )
    yield from _shorter(pooled, plan)
    yield from _memory(pooled)
    if plan.schedule.in_flight and any(group.page.window is not None for group in plan.groups):
        batch = request.max_num_batched_tokens or 8192
        if batch > 2048:
            smaller = replace(request, max_num_batched_tokens=2048)
            yield ("--max-num-batched-tokens 2048", smaller, size,
                   "; windows keep fewer tokens in flight, prompts take more steps")  # fmt: skip
    if request.prefix_caching and any(group.page.kind == "state" for group in plan.groups):
        yield ("--no-enable-prefix-caching", replace(request, prefix_caching=False), size,
               "; recurrent states are kept once a request")  # fmt: skip
    if request.hybrid_manager is False:
        yield ("--no-disable-hybrid-kv-cache-manager", replace(request, hybrid_manager=None), size,
               "; windows are freed")  # fmt: skip
    graphs = start.memory.get("CUDA graphs")
    if (
        graphs is not None
        and plan.rules.graphs_set_aside
        and truth(start, "--enforce-eager") is not True
    ):
        more = int(graphs.value)
        if more > 0:
            yield (
                "--enforce-eager",
                request,
                size + more,
                f"; {format_as_logged(more)} more, and slower decoding",
            )


def _shorter(pooled: Pooled, plan: Plan) -> Iterator[_Change]:
    """A shorter longest request: what fits where none does, else half of it."""
    request, length = pooled.request, plan.max_model_len
    pool = pooled.pool
    if pool.max_concurrency is not None and pool.max_concurrency < 1:
        fits = pool.estimated_max_model_len or 0
        if fits:
            yield (f"--max-model-len {fits}", replace(request, max_model_len=fits), pooled.bytes,
                   "; longer requests are refused")  # fmt: skip
    elif length >= 4096:
        half = length // 2
        yield (f"--max-model-len {half}", replace(request, max_model_len=half), pooled.bytes,
               "; the pool is the same, the longest request is shorter")  # fmt: skip


def _memory(pooled: Pooled) -> Iterator[_Change]:
    """More memory for the cache: a larger share, or another rank that takes half of the weights."""
    start, request, size = pooled.start, pooled.request, pooled.bytes
    total, share = start.memory.get("device"), start.value("--gpu-memory-utilization")
    whole = int(total.value) if total is not None else (
        pooled.device.bytes if pooled.device is not None else 0)  # fmt: skip
    asked = Fraction(9, 10) if share is None else Fraction(str(share))
    if whole and asked < _MOST_SHARE and "--kv-cache-memory-bytes" not in start.flags:
        more = int(whole * (_MOST_SHARE - asked))
        yield (f"--gpu-memory-utilization {float(_MOST_SHARE):g}", request, size + more,
               f"; {format_as_logged(more)} more, which nothing else may hold")  # fmt: skip
    weights = start.memory.get("weights")
    if weights is not None:
        layout = request.layout
        more = int(weights.value) // 2
        doubled = replace(request, layout=replace(layout, tensor=2 * layout.tensor))
        yield (f"--tensor-parallel-size {2 * layout.tensor}", doubled, size + more,
               f"; about: {2 * layout.devices} devices, each with half of the weights")  # fmt: skip
