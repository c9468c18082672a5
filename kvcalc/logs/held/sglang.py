"""SGLang's figures held against ``kvcalc capacity --engine sglang`` of the same flags.

Its log says the tokens of each pool, and GB (2^30 bytes) of K and of V: the tokens go in, the bytes come
out to the printed digit, and the other way round.
"""

from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction

from kvcalc.deployment.hardware import Accelerator
from kvcalc.engines.request import Available
from kvcalc.engines.result import Cache, CapacityResult
from kvcalc.engines.sglang.flags import SglangFlags
from kvcalc.engines.sglang.pool import capacity
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
    truth,
    whole,
    word,
)
from kvcalc.logs.held.loading import weights
from kvcalc.logs.parts import parts_of
from kvcalc.memory.layout import Layout
from kvcalc.spec.catalog import Found
from kvcalc.spec.model import ModelSpec
from kvcalc.units import format_bytes

_TORCH = {"float8_e4m3fn": "fp8_e4m3", "float8_e5m2": "fp8_e5m2", "uint8": None}
# What activations and graphs take of what the pools leave, and more.
_KEPT = 6 << 30
_DRAFTS = {"NEXTN", "EAGLE", "FROZEN_KV_MTP"}


def answer(
    start: Start, found: Found, called: str, device: Accelerator | None, notes: tuple[str, ...]
) -> LogAnswer:
    compared, assumed = compare(start, found.spec, device)
    result = compared.result
    rows = (
        *compared.observations(),
        *weights(start, found.spec, _with_replicas(start, compared.request.layout), device),
    )
    return LogAnswer(
        **parts_of(start, found), rules=result.version, observations=rows,
        advice=tuple(_advice(compared, called, device)), memory=tuple(_memory(compared)),
        verdict=tuple(_verdict(compared)), assumed=assumed, notes=(*notes, *result.notes),
        request=tuple(_token(compared)), request_title="one token of the pool",
    )  # fmt: skip


def _with_replicas(start: Start, layout: Layout) -> Layout:
    """What weights are divided by: all ranks share what is not the attention's (--enable-dp-attention)."""
    if not truth(start, "--enable-dp-attention"):
        return layout
    return replace(layout, data=whole(start, "--dp-size") or 1)


def question(start: Start, spec: ModelSpec, device: Accelerator | None) -> SglangFlags:
    """The flags of a log, with the tokens of the full pool. Raises UsageError where it says none."""
    tokens = _full_tokens(start)
    if tokens is None:
        raise UsageError(
            f"lines {start.first} to {start.last} say no '#tokens': paste the line 'KV Cache is allocated'"
        )
    ranks = whole(start, "--tp-size") or 1
    replicas = whole(start, "--dp-size") or 1
    if truth(start, "--enable-dp-attention") and ranks % replicas == 0:
        ranks //= replicas  # of the attention
    ratio = start.value("--swa-full-tokens-ratio")
    states = start.value("--mamba-full-memory-ratio")
    algorithm = str(start.value("--speculative-algorithm") or "").upper()
    drafts = whole(start, "--speculative-num-draft-tokens", least=0)
    own = spec.mtp.num_layers if spec.mtp is not None and algorithm in _DRAFTS else None
    return SglangFlags(
        engine_version=None if start.version is None else str(start.version.value),
        model_dtype=word(start, "--dtype") or "bf16",
        layout=Layout(ranks, whole(start, "--pp-size") or 1),
        compute_capability=None if device is None else device.sm,
        max_model_len=whole(start, "context_len") or whole(start, "--context-length"),
        kv_dtype=_kv_dtype(start),
        state_dtype=word(start, "--mamba-ssm-dtype"),
        attention_backend=word(start, "--dsa-decode-backend") or word(start, "--nsa-decode-backend"),
        block_size=whole(start, "--page-size"),
        prefix_caching=False if truth(start, "--disable-radix-cache") else None,
        max_num_seqs=whole(start, "max_mamba_cache_size") or whole(start, "--max-mamba-cache-size"),
        speculative_tokens=drafts if own is not None else None,
        mtp_layers=whole(start, "mtp_layers", least=0) or own,
        tokens=tokens,
        window_ratio=None if ratio is None else Fraction(str(ratio)),
        state_ratio=None if states is None else Fraction(str(states)),
    )  # fmt: skip


def _kv_dtype(start: Start) -> str | None:
    asked = word(start, "--kv-cache-dtype")
    printed = str(start.value("kv_cache_torch_dtype") or "")
    if asked is None and printed in _TORCH:
        return _TORCH[printed]
    return asked


def _full_tokens(start: Start) -> int | None:
    """Tokens of the full pool: of its own line, or of the first pool that was allocated."""
    tokens = start.of("tokens")
    for of in ("full", "total"):
        for figure in tokens:
            # Where windows have a pool, each pool prints '#tokens'; another line tells them apart.
            if figure.of == of and (of == "total" or _names_pools(start, figure)):
                return int(figure.value)
    return int(tokens[0].value) if tokens else None


def _names_pools(start: Start, figure: Figure) -> bool:
    windows = [each.line for each in start.of("tokens") if each.of == "window"]
    return figure.line in windows if windows else True


class Compared:
    """One reading of a log's inputs."""

    def __init__(self, spec: ModelSpec, request: SglangFlags, start: Start) -> None:
        self.spec, self.request, self.start = spec, request, start
        self.result: CapacityResult = capacity(spec, request)

    def observations(self) -> Iterator[Observation]:
        for figure in distinct(self.start.figures):
            found = self._observe(figure)
            if found is not None:
                yield found

    def _observe(self, figure: Figure) -> Observation | None:
        if figure.quantity == "tokens":
            return self._tokens(figure)
        for name, size in self._sizes(figure):
            if near(size, figure):
                return observed(
                    figure,
                    size,
                    size,
                    size,
                    True,
                    "the pool's tokens times the bytes of one",
                    of=name,
                )
        sizes = list(self._sizes(figure))
        if not sizes:
            return observed(
                figure, None, None, None, None, "a pool that the flags in the log do not explain"
            )
        name, size = sizes[0]
        off = float((figure.value - size) * 100 / max(1, size))
        return observed(
            figure, size, size, size, False, f"{off:+.2f} %: {_unsaid(self.start)}", of=name
        )

    def _pools(self, line: int) -> list[Cache]:
        """The caches that a line may be of: those with its tokens, where it says tokens."""
        tokens = [int(each.value) for each in self.start.of("tokens") if each.line == line]
        caches = [cache for cache in self.result.caches if cache.type != "recurrent"]
        same = [cache for cache in caches if cache.cells in tokens]
        return same or (caches if not tokens else [])

    def _sizes(self, figure: Figure) -> Iterator[tuple[str, int]]:
        caches = self.result.caches
        if figure.of in ("states", "draft states"):
            for cache in caches:
                size = cache.r_bytes if figure.quantity == "r_bytes" else cache.s_bytes
                if cache.name == figure.of and size is not None:
                    yield cache.name, size
            return
        if figure.of == "full + window":
            yield (
                figure.of,
                sum(c.bytes for c in caches if c.type == "attention" and c.name != "draft"),
            )
            return
        pools = self._pools(figure.line)
        keys = [cache for cache in pools if cache.type == "indexer"]
        for cache in pools:
            if cache.type == "indexer":
                continue
            match figure.quantity:
                case "k_bytes" if cache.k_bytes is not None:
                    yield cache.name, cache.k_bytes
                case "v_bytes" if cache.v_bytes is not None:
                    yield cache.name, cache.v_bytes
                case "bytes":
                    # DSATokenToKVPool prints latents and index keys as one size.
                    if keys and cache.name == "full":
                        yield (
                            f"{cache.name}, index keys",
                            cache.bytes + sum(key.bytes for key in keys),
                        )
                    yield cache.name, cache.bytes

    def _tokens(self, figure: Figure) -> Observation | None:
        """The tokens that a printed size may be of; of lines without a size, the pool's own."""
        wanted = int(figure.value)
        beside = [each for each in self.start.figures if each.line == figure.line
                  and each.of == figure.of
                  and each.quantity in ("k_bytes", "v_bytes", "bytes")]  # fmt: skip
        if beside and beside[0].of == "full":
            for size in beside:
                for name, held in self._sizes(size):
                    least, most = (
                        int(-(-end * wanted // held)) if held else 0
                        for end in (size.least, size.most)
                    )
                    if near(held, size):
                        return observed(
                            figure, wanted, least, most, True, f"tokens of {size.shown} GB", of=name
                        )
            return None
        pools = {cache.name: cache.cells for cache in self.result.caches}
        if figure.of == "window" and pools.get("window") is not None:
            have = pools["window"]
            return observed(
                figure, have, have, have, have == wanted, "--swa-full-tokens-ratio of the full pool"
            )
        if figure.of == "full" and pools.get("full") is not None:
            have = pools["full"]
            return observed(figure, have, have, have, have == wanted, "the full pool")
        return None


def _unsaid(start: Start) -> str:
    missing = [flag for flag in ("--tp-size", "--kv-cache-dtype") if flag not in start.flags]
    if missing:
        return f"not explained; the log does not say {', '.join(missing)}"
    return "not explained by what the log says; please report it with the log"


def compare(
    start: Start, spec: ModelSpec, device: Accelerator | None
) -> tuple[Compared, tuple[str, ...]]:
    """The reading under which the figures agree, and what was assumed for it."""
    stated = question(start, spec, device)
    found, changes = agreeing(
        _tries(start, stated), lambda changes: Compared(spec, changed(stated, changes), start)
    )
    if changes is None:
        return found, ()
    if not changes and "--tp-size" not in start.flags:
        return found, ("--tp-size: not in the log, 1 taken",)
    return found, tuple(_assumed(name, value) for name, value in changes)


def _tries(start: Start, request: SglangFlags) -> Iterator[tuple[tuple[str, object], ...]]:
    choices: list[tuple[str, tuple[object, ...]]] = []
    if "--tp-size" not in start.flags:
        choices.append(
            ("layout", tuple(Layout(ranks, request.layout.pipeline) for ranks in (2, 4, 8)))
        )
    if "--kv-cache-dtype" not in start.flags:
        choices.append(("kv_dtype", ("fp8_e4m3", "fp8_raw")))
    if "--page-size" not in start.flags:
        choices.append(("block_size", (64, 128)))
    if "--mamba-ssm-dtype" not in start.flags and start.of("s_bytes"):
        choices.append(("state_dtype", ("bf16",)))
    if start.version is None:
        choices.append(("engine_version", ("0.5.16", "0.5.9")))
    # SWAKVPool made the pool of windows first up to 0.5.16, the full one first from 0.5.18.
    pools = dict.fromkeys(int(each.value) for each in start.of("tokens") if each.of == "full")
    if not any(each.of == "window" for each in start.of("tokens")) and len(pools) > 1:
        choices.append(("tokens", tuple(each for each in pools if each != request.tokens)))
    yield from one_or_two(choices)


def _assumed(name: str, value: object) -> str:
    if name == "tokens":
        return f"the pool of {value:,} tokens is the full layers': the figures agree with it"
    option = {
        "layout": "--tp-size", "kv_dtype": "--kv-cache-dtype", "block_size": "--page-size",
        "state_dtype": "--mamba-ssm-dtype", "engine_version": "the rules of",
    }[name]  # fmt: skip
    shown = value.tensor if isinstance(value, Layout) else value
    return f"{option} {shown}: not in the log, and the figures agree with it"


def _memory(compared: Compared) -> Iterator[Item]:
    logged = compared.start.memory
    for name in ("free before loading", "weights", "left after loading"):
        if name in logged:
            yield Item(name=name, bytes=int(logged[name].value), line=logged[name].line)
    for cache in compared.result.caches:
        yield Item(
            name=f"pool: {cache.name}",
            bytes=cache.bytes,
            depth=1,
            why=f"{cache.layers} layers, {cache.cells or 0:,} "
            f"{'slots' if cache.type == 'recurrent' else 'tokens'}",
        )
    for name in ("left after the pools", "CUDA graphs"):
        if name in logged:
            yield Item(name=name, bytes=int(logged[name].value), line=logged[name].line)


def _token(compared: Compared) -> Iterator[Item]:
    pool = compared.result.pool
    if pool.bytes_per_block is None:
        return
    yield Item(name="a token in all layers", bytes=pool.bytes_per_block // (pool.block_tokens or 1))
    for waste in compared.result.waste:
        if waste.bytes:
            yield Item(name=waste.cause, bytes=waste.bytes, depth=1, why=waste.why)


def _verdict(compared: Compared) -> Iterator[str]:
    tokens, length = compared.request.tokens or 0, compared.request.max_model_len
    if length:
        held = Fraction(tokens, length)
        yield (
            f"{tokens:,} tokens are {float(held):.2f} requests of {length:,}, the "
            f"longest; shorter ones share the pool."
        )


def _advice(compared: Compared, called: str, device: Accelerator | None) -> Iterator[Advice]:
    """What gives the most tokens of the same memory, the largest first."""
    request, spec = compared.request, compared.spec
    size = sum(cache.bytes for cache in compared.result.caches)
    base = replace(request, tokens=None, max_num_seqs=None, available=Available.exactly(size))
    gpu = None if device is None or not device.vendor else device.name
    tried: list[tuple[int, Advice]] = []
    have = request.tokens or 1
    for change, asked, more in _changes(compared, base):
        try:
            tokens = capacity(spec, asked).pool.tokens or 0
        except KvcalcError:
            continue
        if tokens * 100 >= have * 103:
            said = f"{tokens:,} tokens instead of {have:,}{more}"
            shown = replace(asked, compute_capability=None)
            tried.append(
                (tokens, Advice(change, said, command("sglang", called, shown, **{"--gpu": gpu})))
            )
    tried.sort(key=lambda each: -each[0])
    yield from (each for _, each in tried[:3])


def _changes(compared: Compared, base: SglangFlags) -> Iterator[tuple[str, SglangFlags, str]]:
    assert base.available is not None
    if base.kv_dtype is None:
        yield (
            "--kv-cache-dtype fp8_e4m3",
            replace(base, kv_dtype="fp8_e4m3"),
            "; keys and values of a byte",
        )
    if any(cache.name == "window" for cache in compared.result.caches):
        yield (
            "--swa-full-tokens-ratio 0.2",
            replace(base, window_ratio=Fraction(1, 5)),
            "; fewer window tokens",
        )
    if any(cache.type == "recurrent" for cache in compared.result.caches):
        yield ("--mamba-full-memory-ratio 0.3", replace(base, state_ratio=Fraction(3, 10)),
               "; fewer requests keep a state")  # fmt: skip
    weights = compared.start.memory.get("weights")
    layout = base.layout
    if weights is not None and weights.value > 0:
        more = int(weights.value) // 2
        wider = Available.exactly(base.available.bytes + more)
        yield (f"--tp-size {2 * layout.tensor}",
               replace(base, layout=replace(layout, tensor=2 * layout.tensor), available=wider),
               f"; about: each device has half of the weights, {format_bytes(more)} more")  # fmt: skip
    yield from _larger_share(compared, base)


def _larger_share(compared: Compared, base: SglangFlags) -> Iterator[tuple[str, SglangFlags, str]]:
    """A larger static share, where much is left free after the pools and the log says of how much."""
    assert base.available is not None
    logged, share = compared.start.memory, compared.start.value("--mem-fraction-static")
    left, before = logged.get("left after the pools"), logged.get("free before loading")
    if left is None or before is None or not isinstance(share, float) or left.value <= _KEPT:
        return
    steps = int((left.value - _KEPT) * 100 / before.value)
    if steps < 1:
        return
    more = int(before.value) * steps // 100
    wider = Available.exactly(base.available.bytes + more)
    yield (f"--mem-fraction-static {share + steps / 100:.2f}", replace(base, available=wider),
           f"; about {format_bytes(more)} of what was left free")  # fmt: skip
