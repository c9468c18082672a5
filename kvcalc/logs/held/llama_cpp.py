"""llama.cpp's figures held against ``kvcalc capacity --engine llama.cpp`` of the same flags.

Its log lists every cache with its cells and layers, and MiB of K and V, or of R and S. Builds before
2025-06 print one line for all of them.
"""

from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction

from kvcalc.attention.mla import MultiHeadLatentAttention
from kvcalc.deployment.hardware import Accelerator
from kvcalc.engines.llama_cpp.flags import LlamaCppFlags
from kvcalc.engines.llama_cpp.pool import capacity
from kvcalc.engines.llama_cpp.setup import CELLS
from kvcalc.engines.result import Cache, CapacityResult
from kvcalc.errors import KvcalcError
from kvcalc.logs.answer import Advice, Item, LogAnswer, Observation
from kvcalc.logs.facts import Figure, Start
from kvcalc.logs.held.common import (
    Change,
    agreeing,
    changed,
    command,
    distinct,
    near,
    observed,
    truth,
    whole,
    word,
)
from kvcalc.logs.held.gguf_file import weights
from kvcalc.logs.parts import parts_of
from kvcalc.spec.catalog import Found
from kvcalc.spec.model import ModelSpec
from kvcalc.units import format_as_logged


def answer(
    start: Start, found: Found, called: str, device: Accelerator | None, notes: tuple[str, ...]
) -> LogAnswer:
    compared, assumed = compare(start, found.spec)
    rows = (*compared.observations(), *weights(start, found.spec))
    result = compared.result
    return LogAnswer(
        **parts_of(start, found), rules=result.version, observations=rows,
        advice=tuple(_advice(compared, called)), memory=tuple(_memory(start)),
        request=tuple(_caches(result)), request_title="the caches", verdict=tuple(_verdict(compared)),
        assumed=assumed, notes=notes,
    )  # fmt: skip


def question(start: Start, spec: ModelSpec) -> LlamaCppFlags:
    """The flags of a log. Raises UsageError where it says no context."""
    drafts = whole(start, "n_rs_seq", least=0)
    return LlamaCppFlags(
        ctx_size=whole(start, "--ctx-size"),
        parallel=whole(start, "--parallel"),
        ubatch=whole(start, "--ubatch-size"),
        cache_type_k=word(start, "--cache-type-k"),
        cache_type_v=word(start, "--cache-type-v"),
        kv_unified=truth(start, "--kv-unified"),
        swa_full=truth(start, "--swa-full"),
        speculative_tokens=drafts or None,
        mtp_layers=spec.mtp.num_layers if drafts and spec.mtp is not None else None,
    )


class Compared:
    """One reading of a log's inputs."""

    def __init__(self, spec: ModelSpec, request: LlamaCppFlags, start: Start) -> None:
        self.spec, self.request, self.start = spec, request, start
        self.result: CapacityResult = capacity(spec, request)

    def observations(self) -> Iterator[Observation]:
        for figure in distinct(
            [
                *(each for each in self.start.figures if each.quantity != "buffer"),
                *_buffers(self.start),
            ]
        ):
            found = self._observe(figure)
            if found is not None:
                yield found

    def _observe(self, figure: Figure) -> Observation:
        if figure.quantity == "cells":
            cells = self.result.max_model_len or 0
            agrees = 0 <= cells - figure.value < CELLS
            return observed(
                figure, cells, cells, cells, agrees, "cells of one slot, in steps of 256"
            )
        sizes = list(self._sizes(figure))
        for name, size in sizes:
            if near(size, figure):
                return observed(figure, size, size, size, True, name, of=_short(figure.of))
        if not sizes:
            what = "no cache of these cells and layers follows from the flags in the log"
            return observed(figure, None, None, None, False, what, of=_short(figure.of))
        name, size = sizes[0]
        off = float((figure.value - size) * 100 / max(1, size))
        return observed(
            figure,
            size,
            size,
            size,
            False,
            f"{name}, {off:+.2f} %: {_unsaid(self.start)}",
            of=_short(figure.of),
        )

    def _sizes(self, figure: Figure) -> Iterator[tuple[str, int]]:
        caches = self.result.caches
        if figure.of.startswith("KV buffers"):
            drafting = figure.of.endswith("draft")
            own = [
                each
                for each in caches
                if each.type != "recurrent" and ("MTP" in each.name) == drafting
            ]
            yield "caches of attention", sum(each.bytes for each in own)
            return
        if figure.of == "all" or " cells" not in figure.of:
            yield "all caches", sum(_part(cache, figure.quantity) or 0 for cache in caches)
            if " cells" not in figure.of and figure.of != "all":
                for cache in caches:
                    yield cache.name, cache.bytes
            return
        cells, layers = (int(part.split()[0]) for part in figure.of.split(", ")[:2])
        for cache in caches:
            size = _part(cache, figure.quantity)
            if (cache.cells, cache.layers) == (cells, layers) and size is not None:
                yield cache.name, size
        for cache in caches:
            size = _part(cache, figure.quantity)
            # Recurrent caches print all layers of the model.
            if (
                cache.type == "recurrent"
                and cache.cells == cells
                and cache.layers != layers
                and size is not None
            ):
                yield cache.name, size


def _buffers(start: Start) -> Iterator[Figure]:
    """The caches of a context over all devices, where no line lists them one by one."""
    if any(each.quantity in ("k_bytes", "v_bytes") or each.of == "all" for each in start.figures):
        return
    for of in ("model", "draft"):
        own = [each for each in start.of("buffer") if each.of == of]
        if own:
            value, least, most = (
                sum((getattr(each, name) for each in own), Fraction())
                for name in ("value", "least", "most")
            )
            yield Figure(quantity="bytes", line=own[-1].line, value=value, least=least, most=most,
                         of=f"KV buffers, {of}")  # fmt: skip


def _part(cache: Cache, quantity: str) -> int | None:
    sizes = {"bytes": cache.bytes, "k_bytes": cache.k_bytes, "v_bytes": cache.v_bytes,
             "r_bytes": cache.r_bytes, "s_bytes": cache.s_bytes}  # fmt: skip
    found = sizes.get(quantity)
    return 0 if found is None and quantity == "v_bytes" else found


def _short(of: str) -> str:
    return "" if of == "all" else ", ".join(of.split(", ")[:2])


def _unsaid(start: Start) -> str:
    missing = [
        flag for flag in ("--ctx-size", "--ubatch-size", "--parallel") if flag not in start.flags
    ]
    if missing:
        return f"not explained; the log does not say {', '.join(missing)}"
    return "not explained by what the log says; an older build counts otherwise"


def compare(start: Start, spec: ModelSpec) -> tuple[Compared, tuple[str, ...]]:
    """The reading under which the figures agree, and what was assumed for it."""
    found, changes = _read(start, spec)
    said: tuple[str, ...] = ()
    if changes is None and (older := _older(spec)) is not None:
        expanded, other = _read(start, older)
        if other is not None:
            found, changes, said = expanded, other, (_EVERY_HEAD,)
    return found, (*said, *(_assumed(name, value) for name, value in changes or ()))


def _read(start: Start, spec: ModelSpec) -> tuple[Compared, tuple[Change, ...] | None]:
    stated = question(start, spec)
    return agreeing(
        _tries(start, stated),
        lambda changes: Compared(spec, changed(stated, changes), start),
        bare=False,
    )


_EVERY_HEAD = (
    "the file: it keeps every head's keys and values, as one without attention.key_length_mla does (a "
    "conversion of before April 2025, and what Ollama's library has of then)"
)


def _older(spec: ModelSpec) -> ModelSpec | None:
    """The model as files of before April 2025 have it, which llama.cpp keeps no latents of."""
    blocks = {
        name: replace(block, attention=replace(block.attention, cache_layout="latent_whole_kv_b"))
        if isinstance(block.attention, MultiHeadLatentAttention) else block
        for name, block in spec.blocks.items()
    }  # fmt: skip
    return replace(spec, blocks=blocks) if blocks != spec.blocks else None


def _tries(start: Start, request: LlamaCppFlags) -> Iterator[tuple[tuple[str, object], ...]]:
    """What the log does not say: the context from its cells, the micro-batch, the slots."""
    yield ()
    cells = sorted(
        {int(each.of.split()[0]) for each in start.figures if " cells" in each.of}, reverse=True
    )
    contexts: tuple[object, ...] = ()
    if "--ctx-size" not in start.flags:
        streams = 1 if request.kv_unified else request.parallel or 1
        contexts = tuple(each * streams for each in cells[:2]) or tuple(
            1024 << step for step in range(8)
        )
    batches: tuple[object, ...] = (
        () if "--ubatch-size" in start.flags else (128, 256, 1024, 2048, 4096, 8192)
    )
    slots: tuple[object, ...] = () if "--parallel" in start.flags else (2, 3, 4, 8)
    singles = [("ctx_size", each) for each in contexts] + [("ubatch", each) for each in batches]
    singles += [("parallel", each) for each in slots]
    for each in singles:
        yield (each,)
    for context in contexts:
        for batch in batches:
            yield (("ctx_size", context), ("ubatch", batch))
    for slot in slots:
        yield (("parallel", slot), ("kv_unified", True))
        for context in contexts:
            yield (("parallel", slot), ("ctx_size", context))
            yield (("parallel", slot), ("kv_unified", True), ("ctx_size", context))
            if isinstance(slot, int) and isinstance(context, int):
                yield (("parallel", slot), ("ctx_size", slot * context))
    if start.value("--swa-full") is None:
        yield (("swa_full", True),)
    if "--cache-type-k" not in start.flags:
        for kind in ("q8_0", "q4_0"):
            types = (("cache_type_k", kind), ("cache_type_v", kind))
            yield types
            for context in contexts:
                yield (*types, ("ctx_size", context))


def _assumed(name: str, value: object) -> str:
    option = {"ubatch": "--ubatch-size"}.get(name, "--" + name.replace("_", "-"))
    shown = "" if value is True else f" {value}"
    return f"{option}{shown}: not in the log, and the figures agree with it"


def _memory(start: Start) -> Iterator[Item]:
    """What lies where, as the log says it."""
    if "all that it holds" in start.memory:
        for name, figure in start.memory.items():
            yield Item(name=name, bytes=int(figure.value), line=figure.line)
        return
    kinds = ("weights", "caches", "states", "compute", "output")
    devices = list(dict.fromkeys(figure.of for figure in start.memory.values()))
    for device in devices:
        own = [(name, figure) for name, figure in start.memory.items() if figure.of == device]
        yield Item(name=device, bytes=sum(int(figure.value) for _, figure in own), why="in all")
        for kind in kinds:
            for name, figure in own:
                if name.startswith(kind):
                    yield Item(name=kind, bytes=int(figure.value), line=figure.line, depth=1)


def _caches(result: CapacityResult) -> Iterator[Item]:
    whole_bytes = sum(cache.bytes for cache in result.caches)
    yield Item(name="all caches", bytes=whole_bytes)
    for cache in result.caches:
        yield Item(name=f"{cache.name} ({cache.type})", bytes=cache.bytes, depth=1,
                   why=f"{cache.cells or 0:,} cells, {cache.layers} layers")  # fmt: skip
    for waste in result.waste:
        if waste.bytes:
            yield Item(name=f"of it {waste.cause}", bytes=waste.bytes, depth=1, why=waste.why)


def _verdict(compared: Compared) -> Iterator[str]:
    offloaded = compared.start.flags.get("--n-gpu-layers")
    layers = compared.start.dims.get("layers and the output")
    if offloaded is not None and layers is not None and isinstance(offloaded.value, int):
        missing = int(layers.value) - offloaded.value
        if missing > 0:
            yield (
                f"{missing} of {layers.value} layers stay in RAM (line "
                f"{layers.line}): every token waits for them. "
                "A smaller context or cache type leaves room for more."
            )


def _advice(compared: Compared, called: str) -> Iterator[Advice]:
    request, spec = compared.request, compared.spec
    before = sum(cache.bytes for cache in compared.result.caches)
    tried: list[tuple[int, Advice]] = []
    changes: list[tuple[str, LlamaCppFlags]] = []
    if request.cache_type_k in (None, "fp16", "bf16"):
        changes.append(
            (
                "--cache-type-k q8_0 --cache-type-v q8_0",
                replace(request, cache_type_k="q8_0", cache_type_v="q8_0"),
            )
        )
    cells = request.ctx_size or spec.max_position_embeddings or 0
    if cells >= 2048:
        changes.append((f"--ctx-size {cells // 2}", replace(request, ctx_size=cells // 2)))
    if request.swa_full:
        changes.append(("without --swa-full", replace(request, swa_full=None)))
    if (request.parallel or 1) > 1 and request.kv_unified is not True:
        changes.append(("--kv-unified", replace(request, kv_unified=True)))
    if (request.parallel or 1) > 1:
        changes.append(("--parallel 1", replace(request, parallel=1)))
    if (request.ubatch or 0) > 512:
        changes.append(("--ubatch-size 512", replace(request, ubatch=512)))
    for change, asked in changes:
        try:
            after = capacity(spec, asked)
        except KvcalcError:
            continue
        size = sum(cache.bytes for cache in after.caches)
        if size * 103 <= before * 100:
            said = f"caches of {format_as_logged(size)} instead of {format_as_logged(before)}"
            tried.append((size, Advice(change, said, command("llama.cpp", called, asked))))
    tried.sort(key=lambda each: each[0])
    yield from (each for _, each in tried[:3])
