"""vLLM's figures held against ``kvcalc capacity --engine vllm`` of the same flags and memory.

The memory that a log prints is rounded to two decimals, so that a figure agrees where a whole number of
blocks that such a memory may hold gives it to the last digit. The tokens fix the number of blocks, and
with it the concurrency. Up to 0.11 every rank printed its own.
"""

from collections.abc import Callable, Iterator
from dataclasses import replace
from fractions import Fraction

from kvcalc.engines.request import Available
from kvcalc.engines.result import CapacityResult, Pool
from kvcalc.engines.vllm.flags import VllmFlags
from kvcalc.engines.vllm.plan import Plan
from kvcalc.engines.vllm.pool import capacity
from kvcalc.errors import UnsupportedError
from kvcalc.logs.answer import Observation
from kvcalc.logs.facts import Figure, Start
from kvcalc.logs.held.common import distinct, exact, near, observed, whole
from kvcalc.spec.model import ModelSpec
from kvcalc.units import GIB

# Where a log says no memory: more than any device has, to see the blocks.
_ANY = Available.exactly(1 << 50)
# A pool has no more blocks.
_MOST_BLOCKS = 1 << 40


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
            ranges = self.ranges()
            # Tokens that no memory of the log makes are a figure that differs, not the pool.
            within = (
                any(least <= found <= most for least, most in ranges)
                if found is not None
                else False
            )
            if found is not None and (not ranges or within or self.hidden):
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
        if memory.bytes < self.block_bytes:
            memory = Available.exactly(self.block_bytes)
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
        for ends in ranges:
            least, most = (of(end) for end in ends)
            if figure.least <= most and figure.most >= least:
                value = exact(min(max(figure.value, least), most))
                return observed(figure, value, exact(least), exact(most), True, said)
        first = next(filter(None, (*spans, *ranges)), None)
        if first is None:
            return observed(
                figure, None, None, None, None, "the log gives neither memory nor tokens"
            )
        least, most = (of(blocks) for blocks in first)
        why = "of the tokens that the log prints" if first in spans else said
        return observed(figure, exact(least), exact(least), exact(most), False, why)

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
