"""``kvcalc fit`` and ``capacity`` for llama.cpp on named machines: the table, the verdict, the command."""

from collections.abc import Iterator
from typing import Any

from kvcalc.engines.llama_cpp.alongside import Alongside
from kvcalc.engines.llama_cpp.beside import LocalChange
from kvcalc.engines.llama_cpp.file import is_gguf
from kvcalc.engines.llama_cpp.flags import LlamaCppFlags
from kvcalc.engines.llama_cpp.memory import (
    CHECKPOINTS,
    OUTSIDE,
    Loaded,
    Machine,
    Table,
    load,
    names_of,
)
from kvcalc.engines.llama_cpp.placement import HOST
from kvcalc.engines.llama_cpp.placing import Placing, is_open
from kvcalc.engines.llama_cpp.setup import CELLS, UBATCH, format_name
from kvcalc.engines.llama_cpp.solve import Solved, as_asked, solve
from kvcalc.engines.llama_cpp.versions import VERSION
from kvcalc.errors import KvcalcError, UsageError
from kvcalc.frozen import changed, frozen
from kvcalc.gguf.projector import projector_bytes
from kvcalc.media.words import MediaItem, tokens_in_words
from kvcalc.memory.asked_beside import Draft
from kvcalc.memory.estimate import beyond_longest
from kvcalc.memory.shown import Shown
from kvcalc.spec.model import ModelSpec
from kvcalc.units import format_bytes

# The cache types that are tried where none is asked for, the widest first.
_CACHES = (("fp16", "fp16"), ("q8_0", "q8_0"), ("q4_0", "q4_0"))


@frozen(kw_only=True)
class LocalQuestion:
    """What was asked. dtype: the weights' type. flags: without what lies where, if that is to be
    found; ctx_size is one request's. solving: whether it is. why: why llama.cpp, where that was not
    said. engine, words: whose defaults these are. defaults: those, with their sources. opens: what of
    where things lie the engine can be told. media: of one request, among
    the context's tokens. draft: the model that drafts."""

    dtype: str
    flags: LlamaCppFlags
    machine: Machine
    solving: bool = True
    engine: str = "llama.cpp"
    words: str = "llama.cpp"
    why: str = ""
    opens: frozenset[str] = frozenset(("layers", "experts", "shares"))
    defaults: tuple[str, ...] = ()
    media: tuple[MediaItem, ...] = ()
    draft: Draft | None = None

    def load(self, spec: ModelSpec, tokens: int) -> Loaded:
        """The model and what is loaded beside it, every slot with so many tokens. Raises as ``load``."""
        size = projector_bytes(spec) if self.media else 0
        beside = Alongside(projector_bytes=size, draft=self.draft)
        return load(spec, self.dtype, self.with_context(tokens), beside)

    @property
    def slots(self) -> int:
        return self.flags.parallel or 1

    def with_context(self, tokens: int) -> LlamaCppFlags:
        """The flags of a server whose every slot holds so many tokens; one cache is for all slots."""
        if self.flags.kv_unified and self.engine == "lm-studio":
            return changed(self.flags, ctx_size=tokens)
        return changed(self.flags, ctx_size=tokens * self.slots, parallel=self.slots)


@frozen(kw_only=True)
class LocalFit(Shown):
    """The answer. context_tokens: one request's. longest_context: with this placement; 0: none.
    command: to paste."""

    model: str
    question: LocalQuestion
    context_tokens: int
    version: str
    table: Table
    verdict: str
    placing: Placing
    longest_context: int | None
    command: str
    changes: tuple[LocalChange, ...]
    notes: tuple[str, ...]

    @property
    def fits(self) -> bool:
        """Whether it holds, be it tight."""
        return self.verdict != "does not fit"

    @property
    def figures(self) -> object:
        table = self.table
        return (self.verdict, self.longest_context, table.uses, table.placement.layers,
                table.read_bytes, table.predicted)  # fmt: skip


def fit_local(spec: ModelSpec, question: LocalQuestion, context: int) -> LocalFit:
    """The whole answer. Raises UnsupportedError for a model that llama.cpp cannot run, UsageError for
    flags that say nothing."""
    if context < 1:
        raise UsageError("--context 0: a server holds at least one token")
    question.flags.check()
    question.flags.check_draft_types(question.draft is not None)
    loaded = question.load(spec, context)
    found = _answer(loaded, question)
    longest = _longest(spec, question, found)
    return LocalFit(
        model=spec.name, question=question, context_tokens=context,
        version=question.flags.engine_version or VERSION, table=found.table, verdict=found.verdict,
        placing=found.placing, longest_context=longest,
        command=command(loaded, question, found.placing),
        changes=tuple(_changes(spec, question, context, loaded, found)),
        notes=tuple(_notes(spec, question, loaded, found, context)),
    )  # fmt: skip


def _answer(loaded: Loaded, question: LocalQuestion) -> Solved:
    asked = question.flags.placing()
    if not question.solving:
        return as_asked(loaded, question.machine, asked)
    return solve(loaded, question.machine, asked, open_flags(question.flags) & question.opens)


def open_flags(flags: LlamaCppFlags) -> frozenset[str]:
    """What the flags leave to be found."""
    found = set()
    if is_open(flags.n_gpu_layers):
        found.add("layers")
    if flags.n_cpu_moe is None and not flags.cpu_moe and flags.override_tensor is None:
        found.add("experts")
    if flags.tensor_split is None and flags.split_mode != "none":
        found.add("shares")
    return frozenset(found)


def _longest(spec: ModelSpec, question: LocalQuestion, found: Solved) -> int | None:
    """The longest context with this placement, up to the model's own; None where any fits."""

    def fits(tokens: int) -> bool:
        try:
            loaded = question.load(spec, tokens)
            return as_asked(loaded, question.machine, found.placing).verdict == found.verdict
        except KvcalcError:
            return False

    if found.verdict == "does not fit":
        return 0
    most = spec.max_position_embeddings
    if most is None:
        return None
    if fits(most):
        return most
    least, above = 0, -(-most // CELLS)
    while above - least > 1:
        middle = (least + above) // 2
        least, above = (middle, above) if fits(middle * CELLS) else (least, middle)
    return least * CELLS


# ---------------------------------------------------------------- the command


def command(loaded: Loaded, question: LocalQuestion, placing: Placing) -> str:
    """What starts it so, in the words of the program that runs llama.cpp."""
    setup = loaded.setup
    number = placing.num_gpu_layers
    most = loaded.file.num_layers + 1
    layers = most if number is None else min(number, most)
    if question.engine == "ollama":
        kept = {
            "OLLAMA_CONTEXT_LENGTH": str(setup.cells),
            "OLLAMA_NUM_PARALLEL": str(setup.sequences),
        }
        if setup.k.name != "fp16":
            kept["OLLAMA_KV_CACHE_TYPE"] = format_name(setup.k)
        said = " ".join(f"{name}={value}" for name, value in kept.items())
        return f"{said} ollama serve; /set parameter num_gpu {layers}"
    if question.engine == "lm-studio":
        share = "max" if layers == most else f"{layers / most:.2f}"
        return (f"lms load MODEL --gpu {share} --context-length {setup.cells} "
                f"--parallel {setup.sequences}")  # fmt: skip
    return " ".join(["llama-server", "-m", "MODEL.gguf", *_flags(loaded, question, placing)])


def _flags(loaded: Loaded, question: LocalQuestion, placing: Placing) -> Iterator[str]:
    asked, setup = question.flags, loaded.setup
    most = loaded.file.num_layers + 1
    yield from ("-ngl", str(99 if placing.num_gpu_layers is None and most <= 99
                            else min(placing.num_gpu_layers or most, most)
                            if placing.num_gpu_layers != 0 else 0))  # fmt: skip
    if placing.num_cpu_moe is None:
        yield "--cpu-moe"
    elif placing.num_cpu_moe:
        yield from ("--n-cpu-moe", str(placing.num_cpu_moe))
    if placing.overrides:
        yield from ("-ot", '"' + ",".join(f"{a}={b}" for a, b in placing.overrides) + '"')
    if placing.shares:
        yield from ("--tensor-split", ",".join(f"{share:g}" for share in placing.shares))
    if placing.one is not None:
        yield from ("--split-mode", "none", "--main-gpu", str(placing.one))
    if not placing.offload_cache:
        yield "--no-kv-offload"
    yield from ("--ctx-size", str(setup.asked), "--parallel", str(setup.sequences))
    for letter, chosen in (("k", setup.k), ("v", setup.v)):
        if chosen.name != "fp16":
            yield from (f"--cache-type-{letter}", format_name(chosen))
    if setup.ubatch != UBATCH:
        yield from ("--ubatch-size", str(setup.ubatch))
    if setup.unified:
        yield "--kv-unified"
    if setup.swa_full:
        yield "--swa-full"
    if loaded.beside.projector_bytes:
        yield from ("--mmproj", "PROJECTOR.gguf")
    if asked.mtp_layers:
        yield from ("--spec-type", "draft-mtp")
        if asked.speculative_tokens is not None:
            yield from ("--spec-draft-n-max", str(asked.speculative_tokens))
    if question.draft is not None:
        yield from ("-md", "DRAFT.gguf", "-ngld", "99")
        if asked.speculative_tokens is not None:
            yield from ("--spec-draft-n-max", str(asked.speculative_tokens))
    if asked.mtp_layers or question.draft is not None:
        for letter, word in (("k", asked.cache_type_k_draft), ("v", asked.cache_type_v_draft)):
            if word is not None:
                yield from (f"--cache-type-{letter}-draft", word)
    if asked.flash_attn not in (None, "auto"):
        yield from ("--flash-attn", str(asked.flash_attn))


# ---------------------------------------------------------------- other flags


def _changes(
    spec: ModelSpec, question: LocalQuestion, context: int, loaded: Loaded, found: Solved
) -> Iterator[LocalChange]:
    """Narrower caches, where none was asked for: each that reads less of RAM, or makes it fit."""
    flags = question.flags
    if not question.solving or flags.cache_type_k or flags.cache_type_v or not loaded.cells:
        return
    best = found.table.read_bytes if found.verdict != "does not fit" else None
    if best == 0 and found.verdict == "fits":
        return
    for key, value in _CACHES[1:]:
        narrower = changed(question, flags=changed(flags, cache_type_k=key, cache_type_v=value))
        try:
            other_loaded = narrower.load(spec, context)
            other = _answer(other_loaded, narrower)
        except KvcalcError:
            continue
        if other.verdict == "does not fit" or (best is not None and other.table.read_bytes >= best):
            continue
        best = other.table.read_bytes
        yield LocalChange(
            what=f"--cache-type-k {key} --cache-type-v {value}",
            effect=f"{_where(other)}; {format_bytes(best)} of RAM read a token; {other.verdict}",
            read_bytes_per_token=best,
        )


def _where(found: Solved) -> str:
    placed = found.table.placement
    said = f"{placed.num_offloaded} of {len(placed.layers)} layers on devices"
    number = found.placing.num_cpu_moe
    if number is None:
        return said + ", all experts in RAM"
    return said + (f", the experts of {number} in RAM" if number else "")


def _notes(
    spec: ModelSpec, question: LocalQuestion, loaded: Loaded, found: Solved, context: int
) -> Iterator[str]:
    beyond = beyond_longest(spec, context)
    if beyond is not None:
        yield beyond
    yield from question.defaults
    yield found.table.why
    yield (
        f"outside: what drivers hold beside llama.cpp's buffers, {format_bytes(OUTSIDE.least)} as printed "
        "for an RTX 4090 to what llama.cpp's own --fit leaves free"
    )
    yield from _beside(spec, question, loaded)
    kept = found.table.uses[-1].kept
    if question.machine.ram is not None:
        said = "; ".join(f"{what} up to {format_bytes(size)}" for what, size in kept)
        yield f"in RAM the server keeps, beside: {said}"
    elif question.machine.shared is None:
        yield "RAM was not said (--ram 64GiB): what lies there is not held against any"
    if question.machine.shared is not None:
        yield (
            f"the memory of {found.table.uses[0].name} is a part of the RAM: what it holds stands under "
            "outside of the host, too"
        )
    if loaded.checkpoint_bytes:
        yield f"checkpoints: up to {CHECKPOINTS} a slot, {loaded.checkpoint_bytes:,} bytes each"
    for number, use in enumerate(found.table.uses[:-1]):
        if not use.layers and not use.model_bytes:
            yield f"device {number} ({use.name}) holds nothing"
    for device in dict.fromkeys(question.machine.devices):
        measured: Any = getattr(device, "measured", True)
        if not measured:
            yield f"{device.name}: the vendor's figure; what programs see may be up to a tenth less"
    if found.table.placement.logits_bytes:
        yield "the token table is the output as well and lies in RAM: every token reads it"
    if loaded.file.tied and found.table.placement.output is not HOST:
        yield "the token table is the output as well: it lies in RAM and on the output's device"


def _beside(spec: ModelSpec, question: LocalQuestion, loaded: Loaded) -> Iterator[str]:
    """What is said of the projector and of the draft."""
    if loaded.beside.projector_bytes:
        yield (
            "projector: the tensors of the file that --mmproj names, in F16, on the first device; the "
            "buffer of the graph that sees is not predicted"
        )
    elif spec.towers or question.media:
        size = projector_bytes(spec)
        known = f" ({format_bytes(size)} in f16; --images 1 counts it)" if size else ""
        yield (
            f"the projector (--mmproj), a file of its own on the first device{known}, and what it takes to "
            "see are not in this table"
        )
    if question.flags.mtp_layers:
        yield (
            "MTP: the file's layers that predict further tokens lie behind the others and have a context "
            "of their own, its cache in f16 unless -ctkd, -ctvd say otherwise; what its graph takes is not "
            "predicted (--spec-type draft-mtp)"
        )
    if question.draft is not None:
        own = "its file's types" if is_gguf(question.draft.spec) else question.dtype
        yield (
            f"draft: {question.draft.spec.name}, its weights in {own}, all its layers on the device, its "
            "cache in F16 unless -ctkd, -ctvd say otherwise, with the model's cells: no context of its "
            "own to ask for (llama-server -md)"
        )


def where_line(fit: LocalFit, weights: str = "") -> str:
    """What was asked, of which machine."""
    question, machine = fit.question, fit.question.machine
    each = f"{tokens_in_words(fit.context_tokens, question.media)} x {question.slots}"
    ram = f" and {format_bytes(machine.ram)} of RAM" if machine.ram is not None else ""
    where = names_of(machine.devices) or "the CPU"
    return f"{each}{weights}, on {where}{ram}, {_program(fit)}{question.why}"


def headline(fit: LocalFit) -> str:
    """One sentence: what was asked, and the verdict."""
    machine = fit.question.machine
    # RAM that nobody stated is a condition of the verdict, not a detail of it.
    stated = machine.ram is not None or machine.shared is not None
    host = 0 if stated else fit.table.uses[-1].taken(most=True)
    given = f" with {format_bytes(host)} of RAM" if host and fit.verdict != "does not fit" else ""
    return f"{where_line(fit, f', weights in {fit.question.dtype}')}: {fit.verdict}{given}"


def _program(fit: LocalFit) -> str:
    """``llama.cpp 0.5``, ``Ollama (llama.cpp 0.5)``."""
    own = f"llama.cpp {fit.version}"
    return own if fit.question.engine == "llama.cpp" else f"{fit.question.words} ({own})"
