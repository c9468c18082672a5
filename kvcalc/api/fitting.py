"""What accelerators have room for: ``fit`` and ``which``."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, TypedDict, Unpack, cast, overload

from kvcalc.api.arguments import (
    Model,
    Tokens,
    WorkloadWords,
    asked_of,
    drafting_of,
    engine_name,
    found_of,
    known,
    lora_of,
    named,
    renamed,
    tokens,
    whole,
    word,
)
from kvcalc.api.devices import LocalWords, Share, Size, share_of, values_of, where_of
from kvcalc.deployment.choice import Choices
from kvcalc.deployment.question import FitQuestion, fit_answer
from kvcalc.deployment.where import Where
from kvcalc.engines.media import served_media
from kvcalc.errors import UsageError
from kvcalc.frozen import changed
from kvcalc.memory.workload import Workload
from kvcalc.spec.model import ModelSpec

if TYPE_CHECKING:
    from kvcalc.deployment.answer import Fit
    from kvcalc.deployment.everywhere import Everywhere
    from kvcalc.deployment.question import FitAnswer
    from kvcalc.deployment.together import Together
    from kvcalc.engines.llama_cpp.files import LocalFiles
    from kvcalc.engines.llama_cpp.local import LocalFit


class ServerWords(TypedDict, total=False):
    """How a server is run: its share of the memory, its step, which towers it loads, and how it bounds an
    image. eager: no CUDA graphs. limit_mm_per_prompt, mm_processor_kwargs: an object or JSON,
    ``'{"image": 4, "video": 0}'``, ``'{"max_pixels": 1003520}'``. mm_encoder_tp_mode: ``weights`` or
    ``data``, whether ranks divide the towers."""

    memory_utilization: Share
    max_num_batched_tokens: Tokens
    max_num_seqs: int | None
    eager: bool
    language_model_only: bool
    limit_mm_per_prompt: str | Mapping[str, Any] | None
    mm_encoder_tp_mode: str | None
    mm_processor_kwargs: str | Mapping[str, Any] | None


class FitWords(WorkloadWords, ServerWords, LocalWords, total=False):
    """A workload, its devices, and how what runs it is set. data: replicas of the attention. expert: whole
    experts over all."""

    data: int
    expert: bool


class AskedWords(FitWords, total=False):
    """The same with the machine and the engine, as ``fit`` takes them."""

    gpu_memory: Size
    ram: Size
    reserve: Size
    engine: str | None
    engine_version: str | None


@overload
def fit(
    model: Model, gpu: str | Sequence[str] | None = None, workload: Workload | None = None, *,
    gpus: None = None, together: Literal[False] = False, **words: Unpack[AskedWords],
) -> "Fit | LocalFit | LocalFiles | Choices": ...  # fmt: skip
@overload
def fit(
    model: Model, gpu: None = None, workload: Workload | None = None, *,
    gpus: Literal["all"], together: Literal[False] = False, **words: Unpack[AskedWords],
) -> "Everywhere": ...  # fmt: skip
@overload
def fit(
    model: str | Sequence[str], gpu: str | Sequence[str] | None = None, workload: None = None, *,
    gpus: None = None, together: Literal[True], **words: Unpack[AskedWords],
) -> "Together": ...  # fmt: skip
def fit(
    model: Model | Sequence[str],
    gpu: str | Sequence[str] | None = None,
    workload: Workload | None = None,
    *,
    gpus: str | None = None,
    together: bool = False,
    gpu_memory: Size = None,
    ram: Size = None,
    reserve: Size = None,
    engine: str | None = None,
    engine_version: str | None = None,
    **words: Unpack[FitWords],
) -> "FitAnswer":
    """Whether a workload fits an accelerator, how far it goes, and what to change: ``kvcalc fit``.

    engine: None takes llama.cpp for a GGUF type, a GGUF file, ``ram`` or a flag of llama.cpp's, mlx for an
    mlx type or a Mac, else vLLM, as the command does. gpu: a name of the catalogue, such as
    ``h100-80gb``, or several; or gpu_memory, ``"80GiB"``. ram, reserve: memory beside the devices, and what
    something else holds on each (llama.cpp). gpus: ``"all"``, for every accelerator that is known.
    together: the models, names, patterns or paths, are on the device all at once; ``which`` says which of
    several fit.

    The answer is a ``Fit``; of all accelerators ``Everywhere``, of models together ``Together``; of
    llama.cpp, which places tensors one by one, a ``LocalFit``, or where no type was named ``LocalFiles``;
    of another engine of files ``Choices``. Raises as the command refuses, in its words: NotFoundError for
    an unknown name, UnsupportedError for what the engine does not run, UsageError for what says nothing of
    it.
    """
    given = renamed(words)
    known("fit", given, FitWords.__annotations__, fit.__kwdefaults__ or ())
    names = _names(model) if together else (_name(model),)
    where = where_of(given, gpu, gpu_memory, ram, reserve, gpus)
    question = changed(_question(names, given, where, engine, engine_version), together=together)
    if isinstance(model, ModelSpec):
        question = changed(question, found=found_of(model))
    if together and workload is not None:
        raise UsageError("together takes a workload's words: each model has formats of its own")
    return fit_answer(question if workload is None else _of(workload, question, words))


def _name(model: Model | Sequence[str]) -> str:
    if isinstance(model, (list, tuple)):
        raise UsageError("fit is of one model: which of several fit says which(models, ...), whether all "
                         "do at once together=True")  # fmt: skip
    found = named(cast(Model, model))
    return found.name if isinstance(found, ModelSpec) else found


def _of(workload: Workload, question: FitQuestion, words: Mapping[str, Any]) -> FitQuestion:
    """The question about a whole workload. words: what else was said of it, which is refused."""
    twice = [word for word in words if word in (*WorkloadWords.__annotations__, "data", "expert")]
    if twice:
        raise UsageError(f"give fit a workload or its words ({', '.join(twice)}), not both")
    asked = changed(
        question.asked, context_tokens=workload.context_tokens, batch_size=workload.batch_size,
        encoder_tokens=workload.encoder_tokens, beams=workload.beams, dtype=workload.dtype,
        state_dtype=workload.cache.state, layout=workload.layout,
    )  # fmt: skip
    layout, stated = workload.layout, workload.cache.kv_name
    where = changed(question.where, tensor=layout.tensor, pipeline=layout.pipeline)
    return changed(
        question, asked=asked, where=where, workload=workload,
        # A workload says a format always; bf16 is what nothing said comes to.
        kv_dtype=None if stated == "bf16" else stated,
    )  # fmt: skip


def _question(
    models: tuple[str, ...], given: dict[str, Any], where: Where, engine: str | None,
    engine_version: str | None,
) -> FitQuestion:  # fmt: skip
    """What was asked, as far as it is no whole workload. Raises UsageError for values that are none."""
    if where.memory is None and not where.gpus and where.ram is None and where.every is None:
        raise UsageError("say an accelerator: gpu, a name, or gpu_memory, a size")
    share, requests = given.get("memory_utilization"), given.get("max_num_seqs")
    return FitQuestion(
        models=models, where=where, asked=asked_of(given),
        kv_dtype=word("kv_dtype", given.get("kv_dtype")), drafting=drafting_of(given),
        lora=lora_of(given), engine=None if engine is None else engine_name(engine),
        engine_version=engine_version, utilization=share_of("memory_utilization", share, most=1),
        max_num_batched_tokens=tokens("max_num_batched_tokens", given.get("max_num_batched_tokens")),
        max_num_seqs=None if requests is None else whole("max_num_seqs", requests),
        eager=bool(given.get("eager")), media=served_media(given),
        flags=values_of({name: given.get(name) for name in LocalWords.__annotations__}),
    )  # fmt: skip


def which(
    models: str | Sequence[str],
    gpu: str | Sequence[str] | None = None,
    *,
    gpu_memory: Size = None,
    engine: str | None = None,
    engine_version: str | None = None,
    **words: Unpack[FitWords],
) -> Choices:
    """Which models fit, in which format of the weights, how far: ``kvcalc fit 'qwen*'``.

    models: names, patterns, paths and folders. engine: None takes llama.cpp for a GGUF type, mlx for
    an mlx type or a Mac, else vLLM. Raises as ``fit`` does, where no model could be asked about.
    """
    given = renamed(words)
    known("which", given, FitWords.__annotations__, which.__kwdefaults__ or ())
    where = where_of(given, gpu, gpu_memory, None, None)
    question = _question(_names(models), given, where, engine, engine_version)
    answer = fit_answer(changed(question, several=True))
    assert isinstance(answer, Choices)
    return answer


def _names(models: Any) -> tuple[str, ...]:
    """Several models, or one pattern. Raises UsageError."""
    names = (models,) if isinstance(models, str) else tuple(models) if _is_list(models) else ()
    if not names or not all(isinstance(each, str) for each in names):
        raise UsageError(f"models are names, patterns or paths, not {models!r}")
    return names


def _is_list(value: object) -> bool:
    return isinstance(value, (list, tuple))
