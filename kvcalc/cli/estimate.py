"""``kvcalc estimate``: weights, cache and workspace of a model, taken apart to named tensors."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

from kvcalc.cli import completion, kinds, options
from kvcalc.cli.groups import Drafts, Lora, Media, Output, Pools, Weights, with_groups
from kvcalc.convert.beside import Lora as LoraWords
from kvcalc.convert.locate import locate
from kvcalc.dtypes import CacheDtypes
from kvcalc.engines import NEED
from kvcalc.errors import UsageError
from kvcalc.frozen import changed, frozen
from kvcalc.memory.accounting import Accounting
from kvcalc.memory.estimate import Estimate, answer, choose_workload
from kvcalc.memory.layout import Layout
from kvcalc.memory.towers import only_of
from kvcalc.memory.workload import Asked, Workload
from kvcalc.spec.catalog import Found, expand
from kvcalc.spec.model import ModelSpec

if TYPE_CHECKING:
    from kvcalc.deployment.accelerator import Accelerator
    from kvcalc.report.sheet import Answer

_Attention = Annotated[
    str | None,
    kinds.option(
        "|".join(options.ATTENTIONS),
        "What if it had this attention instead; gqa:4 has 4 KV heads, mla:512 a latent of 512.",
        complete=completion.one_of(options.ATTENTIONS),
        callback=kinds.given(options.attention),
    ),
]
_Lengths = Annotated[
    str | None, kinds.file("Real requests instead of --context, as 'kvcalc traffic' takes them.")
]
_Gpu = Annotated[
    list[str] | None,
    options.gpu_option("The GPU whose kernels decide formats and padding (with --engine)."),
]
_Workspace = Annotated[
    bool, kinds.switch("--workspace", "Show the buffers of an unchunked prefill, eager ones too.")
]
_Only = Annotated[
    str | None,
    kinds.option(
        "language",
        "The language model alone: no towers, no projectors.",
        complete=lambda: ["language"],
    ),
]


@frozen(kw_only=True)
class _Question:
    """What was asked of every model. kv_dtype: in the engine's words."""

    asked: Asked
    engine: str
    engine_version: str | None
    attention: str | None
    kv_dtype: str | None
    set_fields: tuple[str, ...]
    workspace: bool
    lora: LoraWords = LoraWords()
    only: str | None = None
    device: "Accelerator | None" = None


@with_groups
def estimate(
    models: options.Models, context: options.Context = None, batch: options.Batch = 1,
    encoder_context: options.EncoderContext = None, media: Media = Media(),
    drafts: Drafts = Drafts(), lora: Lora = Lora(), beams: options.Beams = 1,
    attention: _Attention = None, weights: Weights = Weights(),
    kv_dtype: options.KvDtypeAsked = None, state_dtype: options.StateDtype = None,
    engine: options.WhichEngine = NEED, engine_version: options.EngineVersion = None,
    tp: options.TensorParallel = 1, pp: options.PipelineParallel = 1,
    set_fields: options.SetFields = None, only: _Only = None, lengths: _Lengths = None,
    pools: Pools = Pools(), workspace: _Workspace = False, gpu: _Gpu = None,
    output: Output = Output(),
) -> None:  # fmt: skip
    """What a model takes: weights, cache, workspace, tensor by tensor.

    Example: kvcalc estimate llama-3-8b --context 128k --batch 32
    """
    question = _Question(
        asked=Asked(
            context_tokens=options.tokens(context, "--context"), batch_size=batch,
            encoder_tokens=options.tokens(encoder_context, "--encoder-context"), beams=beams,
            dtype=weights.word, state_dtype=state_dtype, layout=Layout(tp, pp),
            beside=drafts.said.beside, put=media.words,
        ),
        engine=options.engine_name(engine, options.ALL_ENGINES), engine_version=engine_version,
        attention=attention, kv_dtype=options.one_kv_dtype(kv_dtype),
        set_fields=tuple(set_fields or ()), workspace=workspace, lora=lora.words, only=only,
        device=_device(gpu, tp * pp),
    )  # fmt: skip
    if lengths is not None:
        return output.show(_traffic(expand(models), lengths, question, pools))
    if pools.said is not None:
        raise UsageError(
            f"{pools.said} goes with --lengths FILE; 'kvcalc capacity' answers for pools"
        )
    output.show(_estimates(expand(models), question))


def _device(gpus: list[str] | None, ranks: int) -> "Accelerator | None":
    """One of the devices whose kernels decide formats, where they were named."""
    if not gpus:
        return None
    from kvcalc.deployment.where import one_of_equal

    return one_of_equal(gpus, ranks)


def _traffic(models: list[str], path: str, question: _Question, pools: Pools) -> "Answer":
    """The same as ``kvcalc traffic``."""
    from kvcalc.cli import traffic
    from kvcalc.engines.traffic import TrafficQuestion

    asked = question.asked
    beside = {
        "--context": asked.context_tokens is not None,
        "--batch": asked.batch_size != 1,
        "--beams": asked.beams != 1,
        "--attention": question.attention is not None,
        "--dtype": asked.dtype is not None,
        "--images": asked.put.images,
        "--audio": asked.put.audio,
        "--video": asked.put.video,
        "--only": question.only,
        "--draft": asked.beside.draft is not None,
        "--mtp-layers": asked.beside.mtp_layers is not None,
        question.lora.said or "--lora-rank": question.lora.said,
    }
    for name, given in beside.items():
        if given:
            raise UsageError(f"{name} says nothing beside --lengths: leave it out")
    if question.engine == options.ALL_ENGINES:
        raise UsageError("--lengths answers for one --engine")
    asked_of = TrafficQuestion(
        engine=question.engine, engine_version=question.engine_version, asked=asked,
        kv_dtype=question.kv_dtype, **pools.question,
    )  # fmt: skip
    return traffic.answers(models, path, list(question.set_fields), asked_of)


def _estimates(models: list[str], question: _Question) -> "Answer":
    """The need, a library's tensors, or an engine's blocks."""
    found = [_one(model, question) for model in models]
    if not _counts_tensors(question.engine):
        return _serve(question, [(item.path, result) for item, result, _ in found])
    from kvcalc.report.answers import estimate as estimates

    rows = [(item.path, result, real) for item, result, real in found]
    return estimates.answer(rows, question.workspace)


def _one(model: str, question: _Question) -> tuple[Found, Estimate, Estimate | None]:
    """The answer for one model and, where another attention was asked for, that of the real one."""
    found = locate(model)
    spec, notes, stored = found.spec, found.assumptions, found.weights
    if question.set_fields:
        stored = None
        from kvcalc.spec.set_fields import with_fields

        spec = with_fields(spec, question.set_fields)
        notes = (*notes, *(f"set {change}" for change in question.set_fields))
    kept = stored is not None and question.attention is None
    put = question.asked
    if put.put:
        from kvcalc.convert.media import with_media

        put, places = with_media(put, spec, found.path, question.engine)
        notes = (*places, *notes)
    if question.only is not None:
        spec, said = only_of(spec, question.only)
        notes = (*said, *notes)
        stored = None if said else stored
    asked = changed(
        put,
        dtype=question.asked.dtype or ("checkpoint" if kept else None),
        kv_dtype=_logical_format(question.kv_dtype, question.engine),
        beside=question.lora.of(question.asked.beside, spec, question.engine),
    )
    workload, filled = choose_workload(spec, asked)
    notes, real = (*filled, *_unread(question), *notes), None
    if question.attention is None:
        result = answer(spec, workload, notes, _accounting(question, spec, workload), stored)
    else:
        from kvcalc.memory.whatif import against_real
        from kvcalc.spec.variants import with_attention

        real = answer(spec, workload, (), _accounting(question, spec, workload))
        spec, how = with_attention(spec, question.attention)
        accounting = _accounting(question, spec, workload)
        result = against_real(answer(spec, workload, (*how, *notes), accounting), real)
    return found, result, real


# The engines whose formats and padding the GPU decides.
_SERVERS = ("vllm", "sglang")


def _unread(question: _Question) -> Iterator[str]:
    """What was said and decides nothing. Raises UsageError for draft tokens that nobody drafts."""
    beside, read = question.asked.beside, question.engine in _SERVERS
    drafted = beside.draft is not None or beside.mtp_layers
    if beside.speculative_tokens is not None and not (drafted or _asks_for_drafts(question.engine)):
        from kvcalc.deployment.needless import DRAFT_TOKENS

        raise UsageError(DRAFT_TOKENS)
    if question.device is not None and not read:
        yield "--gpu decides nothing here: with --engine vllm or sglang it does"


def _asks_for_drafts(engine: str) -> bool:
    """Whether the engine takes draft tokens from elsewhere than a model."""
    from kvcalc.deployment.needless import LOCAL

    return not (_counts_tensors(engine) or engine in LOCAL)


def _counts_tensors(engine: str) -> bool:
    """Whether the engine's answer is tensors, not blocks; for the need, without looking at any."""
    if engine == options.ALL_ENGINES:
        return False
    return engine == NEED or options.record(engine).accounting is not None


def _logical_format(kv_dtype: str | None, engine: str) -> str:
    """The format of the logical need: an engine's own formats are beside bf16."""
    if kv_dtype is None:
        return "bf16"
    if engine == options.ALL_ENGINES or _counts_tensors(engine):
        return options.cache_dtype(kv_dtype)
    try:
        CacheDtypes.parse(kv_dtype)
    except ValueError:
        return "bf16"
    return kv_dtype


def _serve(question: _Question, found: list[tuple[str, Estimate]]) -> "Answer":
    """What serving engines hold. found: (path of the spec, the logical estimate)."""
    from kvcalc.engines.workload import side_by_side, workload_cache
    from kvcalc.report.answers import engines

    kv_dtype, version = question.kv_dtype, question.engine_version
    if question.engine == options.ALL_ENGINES:
        if version is not None:
            raise UsageError("--engine-version: name one --engine for it")
        return engines.answer_all(
            [(path, one, side_by_side(one.spec, one.workload, kv_dtype)) for path, one in found]
        )
    return engines.answer([
        (path, one, workload_cache(question.engine, one.spec, one.workload, kv_dtype, version,
                                   question.device))
        for path, one in found
    ])  # fmt: skip


def _accounting(question: _Question, spec: ModelSpec, workload: Workload) -> Accounting | None:
    """Whose tensors to count. None: what the mechanisms need."""
    if question.engine in (NEED, options.ALL_ENGINES):
        if question.engine == NEED and question.engine_version is not None:
            raise UsageError("--engine-version: the logical accounting has no versions")
        return None
    record = options.record(question.engine)
    if record.accounting is None:
        return None
    record.check_layout(workload.layout)
    record.check_weights(spec, workload.dtype)
    return record.accounting(spec, workload.cache, question.engine_version)
