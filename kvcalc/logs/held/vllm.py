"""vLLM's figures held against ``kvcalc capacity --engine vllm`` of the same flags and memory.

The memory that a log prints is rounded to two decimals, so that a figure agrees where a whole number of
blocks that such a memory may hold gives it to the last digit. The tokens fix the number of blocks, and
with it the concurrency. Up to 0.11 every rank printed its own.
"""

from collections.abc import Callable, Iterator
from dataclasses import replace
from fractions import Fraction

from kvcalc.deployment.hardware import Accelerator
from kvcalc.engines.request import Available
from kvcalc.engines.result import CapacityResult, Pool
from kvcalc.engines.vllm import default_batch
from kvcalc.engines.vllm.flags import VllmFlags
from kvcalc.engines.vllm.plan import Plan
from kvcalc.engines.vllm.pool import capacity
from kvcalc.engines.vllm.versions import NEWEST
from kvcalc.errors import KvcalcError, UnsupportedError, UsageError
from kvcalc.logs.answer import Observation, Value
from kvcalc.logs.facts import Figure, Start
from kvcalc.logs.held.common import changed, distinct, exact, near, observed, truth, whole, word
from kvcalc.logs.vllm import PRINTED_AT
from kvcalc.memory.layout import Layout
from kvcalc.spec.model import ModelSpec
from kvcalc.units import GIB

# Where a log says no memory: more than any device has, to see the blocks.
_ANY = Available.exactly(1 << 50)
# A pool has no more blocks.
_MOST_BLOCKS = 1 << 40
# What is tried where the log does not say it, the likeliest first.
_RELEASES = ("0.24.0", "0.19.0", "0.12.0", "0.10.2", "0.8.5")
_BATCHES = (8192, 2048, 16384, 4096)


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


class Compared:
    """One reading of a log's inputs, and what every figure says of it."""

    def __init__(self, spec: ModelSpec, request: VllmFlags, start: Start) -> None:
        self.spec, self.request, self.start = spec, request, start
        self.plan = Plan(spec, request)
        self._pools: dict[int, Pool] = {}
        first = self.plan.pool(_ANY.bytes)
        if first.bytes_per_block is None:
            raise UnsupportedError(f"{spec.name} keeps no cache: there is nothing to compare")
        self.block_bytes = first.bytes_per_block
        self.memories = start.of("available_bytes")
        self.blocks = self._blocks()

    # ---------------------------------------------------------------- the pool

    def pool(self, blocks: int) -> Pool:
        if blocks not in self._pools:
            self._pools[blocks] = self.plan.pool(max(1, blocks) * self.block_bytes)
        return self._pools[blocks]

    @property
    def available(self) -> Available | None:
        """The least memory of all ranks, which decides; None where the log says none."""
        override = whole(self.start, "--num-gpu-blocks-override")
        if override is not None:
            return Available.exactly(override * self.block_bytes)
        if self.memories:
            least = min(self.memories, key=lambda figure: figure.value)
            return _available(least)
        stated = whole(self.start, "--kv-cache-memory-bytes")
        return None if stated is None else Available.exactly(stated)

    @property
    def hidden(self) -> bool:
        """Whether a rank may have less memory than any that the log shows: since 0.12 one prints."""
        return bool(self.memories) and len(self.memories) < self.request.layout.devices

    def ranges(self) -> list[tuple[int, int]]:
        """Blocks that each rank's memory may hold; that which decides comes first."""
        decides = self.available
        if decides is None:
            return []
        others = [_available(figure) for figure in self.memories]
        return [
            (each.least // self.block_bytes, each.most // self.block_bytes)
            for each in (decides, *(other for other in others if other != decides))
        ]

    def _blocks(self) -> int | None:
        """The number of blocks that the log's own tokens or blocks are, where one is."""
        for figure in self.start.of("num_blocks"):
            return int(figure.value)
        for figure in self.start.of("tokens"):
            found = self.blocks_of(figure)
            if found is not None:
                return found
        return None

    def blocks_of(self, figure: Figure) -> int | None:
        """The number of blocks whose tokens are printed so: within the memory that the log says, if
        there is one."""
        wanted = int(figure.value)
        found = self._first(lambda blocks: (self.pool(blocks).tokens or 0) >= wanted)
        for least, most in self.ranges():
            at = max(least, found)
            if at <= most and self.pool(at).tokens == wanted:
                return at
        return found if self.pool(found).tokens == wanted else None

    def _span(self, figure: Figure) -> tuple[int, int] | None:
        """All numbers of blocks whose tokens are printed so: before 0.20.1 several are."""
        wanted = int(figure.value)
        least = self._first(lambda blocks: (self.pool(blocks).tokens or 0) >= wanted)
        if self.pool(least).tokens != wanted:
            return None
        return least, self._first(lambda blocks: (self.pool(blocks).tokens or 0) > wanted) - 1

    def _first(self, enough: Callable[[int], bool]) -> int:
        """The fewest blocks that are enough."""
        least, most = 0, 1
        while not enough(most) and most < _MOST_BLOCKS:
            least, most = most, most * 2
        while most - least > 1:
            middle = (least + most) // 2
            least, most = (least, middle) if enough(middle) else (middle, most)
        return most

    def result(self) -> CapacityResult:
        memory = self.available
        if memory is None:
            memory = Available.exactly(max(1, self.blocks or 1) * self.block_bytes)
        return capacity(self.spec, replace(self.request, available=memory))

    # ------------------------------------------------------------- the figures

    def observations(self) -> Iterator[Observation]:
        for figure in distinct(self.start.figures):
            found = self.observe(figure)
            if found is not None:
                yield found

    def observe(self, figure: Figure) -> Observation | None:
        match figure.quantity:
            case "available_bytes":
                return self._memory(figure)
            case "tokens":
                return self._counted(figure, lambda pool: pool.tokens or 0)
            case "num_blocks":
                return self._counted(figure, lambda pool: pool.num_blocks or 0)
            case "max_concurrency":
                return self._concurrency(figure)
            case "bytes_per_request":
                need = self.pool(self.blocks or 1).bytes_per_request or 0
                return observed(figure, need, need, need, near(need, figure),
                                "what one request of the longest length takes")  # fmt: skip
            case "estimated_max_model_len":
                return self._estimate(figure)
            case "block_tokens":
                tokens = self.pool(1).block_tokens or 0
                return observed(figure, tokens, tokens, tokens, tokens == figure.value,
                                "tokens of a block of attention")  # fmt: skip
            case "padding_layers":
                found = [group.padding for group in self.plan.groups]
                total = sum(found)
                return observed(figure, total, total, total, figure.value in (total, *found),
                                "slots that no layer uses")  # fmt: skip
            case "cpu_blocks":
                blocks = 4 * GIB // self.block_bytes
                return observed(figure, blocks, blocks, blocks, blocks == figure.value,
                                "blocks of 4 GiB of swap space")  # fmt: skip
        return None

    def _memory(self, figure: Figure) -> Observation:
        """The memory is an input: it is held against the blocks that were made of it."""
        if self.blocks is None:
            return observed(figure, None, None, None, None, "what the rest is worked out from")
        least = self.blocks * self.block_bytes
        most = least + self.block_bytes - 1
        override = self.start.value("--num-gpu-blocks-override")
        decides = figure == min(self.memories, key=lambda each: each.value)
        if not decides or override is not None:
            agrees = figure.most >= least
            why = (
                "other ranks have less, which decides"
                if override is None
                else "the blocks were overridden"
            )
            return observed(figure, least, least, None, agrees, why)
        agrees = figure.least <= most and figure.most >= least
        if not agrees and self.hidden and most < figure.least <= most * Fraction(106, 100):
            why = "a rank that the log does not show had less, which decides"
            return observed(figure, least, least, most, True, why)
        said = "the blocks that were made of it" if agrees else (
            "the blocks were made of less: another rank had less than this one"
            if figure.least > most else "the blocks need more than that")  # fmt: skip
        return observed(figure, least, least, most, agrees, said)

    def _counted(self, figure: Figure, of: Callable[[Pool], int]) -> Observation:
        """Tokens or blocks, of whole blocks."""
        ranges = self.ranges()
        wanted = int(figure.value)
        if not ranges:
            blocks = self.blocks_of(figure) if figure.quantity == "tokens" else wanted
            if blocks is not None and of(self.pool(blocks)) == wanted:
                return observed(figure, wanted, wanted, wanted, True,
                                f"{blocks:,} whole blocks; the log gives no memory")  # fmt: skip
            below = of(self.pool(self._first(lambda count: of(self.pool(count)) > wanted) - 1))
            return observed(
                figure, below, below, below, False, "no whole number of blocks is printed so"
            )
        found = (
            (of(self.pool(least)) for least, _ in ranges),
            (of(self.pool(most)) for _, most in ranges),
        )
        for (least, most), low, high in zip(ranges, *found, strict=True):
            if low <= wanted <= high and self._reached(of, wanted, least, most):
                number = most if low == high else self._number(of, wanted)
                said = f"{number:,} blocks of {self.block_bytes:,} bytes"
                return observed(figure, wanted, low, high, True, said)
        low, high = (of(self.pool(end)) for end in ranges[0])
        number = self._number(of, wanted)
        if self.hidden and of(self.pool(number)) == wanted and low * 95 <= wanted * 100 < low * 100:
            said = f"{number:,} blocks: a rank that the log does not show had less memory, which decides"
            return observed(figure, wanted, wanted, high, True, said)
        return observed(figure, self._at(of), low, high, False, self._why(figure, low, high))

    def _number(self, of: Callable[[Pool], int], wanted: int) -> int:
        return self._first(lambda count: of(self.pool(count)) >= wanted)

    def _reached(self, of: Callable[[Pool], int], wanted: int, least: int, most: int) -> bool:
        """Whether a whole number of blocks gives it."""
        at = max(least, self._number(of, wanted))
        return at <= most and of(self.pool(at)) == wanted

    def _at(self, of: Callable[[Pool], int]) -> int:
        memory = self.available
        assert memory is not None
        return of(self.plan.pool(max(memory.bytes, self.block_bytes)))

    def _why(self, figure: Figure, low: int, high: int) -> str:
        if low <= figure.value <= high:
            return "within the range, and no whole number of blocks gives it"
        off = (figure.value - high if figure.value > high else figure.value - low) / Fraction(
            max(1, low)
        )
        percent = f"{float(100 * off):+.2f} %"
        return f"{percent}: {_unsaid(self.start)}"

    def _concurrency(self, figure: Figure) -> Observation:
        def of(blocks: int) -> Fraction:
            return self.pool(blocks).max_concurrency or Fraction(0)

        same = [each for each in self.start.of("tokens") if each.writer == figure.writer]
        spans = [self._span(each) for each in (same or self.start.of("tokens"))]
        if self.blocks is not None:
            spans.append((self.blocks, self.blocks))
        said = "blocks / blocks of one request of that length"
        for span in filter(None, spans):
            least, most = (of(blocks) for blocks in span)
            if figure.least <= most and figure.most >= least:
                value = exact(min(max(figure.value, least), most))
                return observed(figure, value, exact(least), exact(most), True, said)
        ranges = self.ranges()
        first = next(filter(None, spans), None)
        if first is not None:
            least, most = (of(blocks) for blocks in first)
            return observed(figure, exact(least), exact(least), exact(most), False,
                            "of the tokens that the log prints")  # fmt: skip
        if not ranges:
            return observed(
                figure, None, None, None, None, "the log gives neither memory nor tokens"
            )
        least, most = (of(end) for end in ranges[0])
        agrees = figure.least <= most and figure.most >= least
        memory = self.available
        assert memory is not None
        value = self.plan.pool(max(memory.bytes, self.block_bytes)).max_concurrency or Fraction(0)
        return observed(figure, exact(value), exact(least), exact(most), agrees, said)

    def _estimate(self, figure: Figure) -> Observation:
        memory = self.available
        if memory is None:
            return observed(figure, None, None, None, None, "the log gives no memory")
        found = [
            self.plan.pool(max(size, self.block_bytes)).estimated_max_model_len or 0
            for size in (memory.bytes, memory.least, memory.most)
        ]
        agrees = found[1] <= figure.value <= found[2]
        return observed(
            figure, found[0], found[1], found[2], agrees, "the longest request that fits"
        )


def _available(figure: Figure) -> Available:
    value, least, most = (
        max(0, int(number)) for number in (figure.value, figure.least, figure.most)
    )
    return Available(value, least, most)


def _unsaid(start: Start) -> str:
    missing = [
        name
        for name, flag in (
            ("the release", None), ("--tensor-parallel-size", "--tensor-parallel-size"),
            ("--kv-cache-dtype", "--kv-cache-dtype"),
            ("--max-num-batched-tokens", "--max-num-batched-tokens"),
        )
        if (start.version is None if flag is None else flag not in start.flags)
    ]  # fmt: skip
    if missing:
        return f"not explained; the log does not say {', '.join(missing)}"
    return "not explained by what the log says; please report it with the log"


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
            assumed = [_assumed(name, value) for name, value in changes]
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
    if "--kv-cache-dtype" not in start.flags:
        choices.append(("kv_dtype", ("fp8",)))
    if "--enable-prefix-caching" not in start.flags:
        choices.append(("prefix_caching", (True, False)))
    if "--block-size" not in start.flags:
        choices.append(("block_size", (32, 64, 128)))
    yield ()
    for name, values in choices:
        for value in values:
            yield ((name, value),)
    for place, (name, values) in enumerate(choices):
        for other, others in choices[place + 1 :]:
            for value in values:
                for second in others:
                    yield ((name, value), (other, second))


def _of(said: str) -> str:
    """The field that a sentence of ``_defaults`` is about."""
    return {
        "the": "engine_version",
        "--tensor-parallel-size:": "layout",
        "--kv-cache-dtype:": "kv_dtype",
    }[said.split()[0]]


def _assumed(name: str, value: object) -> str:
    shown = {
        "layout": f"--tensor-parallel-size {value.tensor if isinstance(value, Layout) else value}",
        "engine_version": f"the rules of {value}", "kv_dtype": f"--kv-cache-dtype {value}",
        "max_num_batched_tokens": f"--max-num-batched-tokens {value}",
        "prefix_caching": f"--{'' if value else 'no-'}enable-prefix-caching",
        "block_size": f"--block-size {value}",
    }[name]  # fmt: skip
    return f"{shown}: not in the log, and the figures agree with it"


def value_of(value: Value | None) -> int:
    return 0 if value is None else int(value)
