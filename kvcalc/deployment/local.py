"""llama.cpp, and the programs that run it, on named machines: ``kvcalc fit`` and ``kvcalc capacity``."""

from collections.abc import Mapping
from typing import Any

from kvcalc.convert.beside import beside_of, check_one
from kvcalc.convert.media import media_items
from kvcalc.deployment.accelerator import Accelerator
from kvcalc.deployment.which import is_file
from kvcalc.engines import engine_of
from kvcalc.engines.llama_cpp.files import LocalFiles, fit_files
from kvcalc.engines.llama_cpp.flags import cache_types
from kvcalc.engines.llama_cpp.local import LocalFit, LocalQuestion, fit_local
from kvcalc.engines.llama_cpp.memory import Machine
from kvcalc.engines.llama_cpp.runners import runner_of
from kvcalc.errors import UsageError
from kvcalc.file_types import LADDER
from kvcalc.frozen import changed, frozen
from kvcalc.media.asked import MediaWords
from kvcalc.media.llama_cpp import bounded
from kvcalc.memory.asked_beside import Draft
from kvcalc.spec.catalog import Found

# Files of one plain format, under the names of their types.
_FILES = {"bf16": "gguf-bf16", "fp16": "gguf-f16", "fp32": "gguf-f32"}


@frozen(kw_only=True)
class LocalAsked:
    """What was asked of one model, whose tensors are placed one by one.

    context_tokens: of one request; None takes the program's. flags: of llama.cpp, None where they were
    not said. why: why it is this engine. solving: where the flags leave open what lies where. put: what
    comes on top of the context. draft: the model that drafts.
    """

    engine: str
    version: str | None
    machine: Machine
    flags: Mapping[str, Any]
    dtype: str | None = None
    context_tokens: int | None = None
    why: str = ""
    solving: bool = True
    put: MediaWords = MediaWords()
    draft: Any = None


def fit_locally(found: Found, asked: LocalAsked) -> LocalFit | LocalFiles:
    """The answer; that of every type where none was said and none is the file's. Raises UsageError for
    flags that say nothing, UnsupportedError for what llama.cpp, or this program, does not run."""
    for device in asked.machine.devices:
        if isinstance(device, Accelerator):
            engine_of("llama.cpp").check_device(device, asked.version)
    check_one(asked.draft, asked.flags.get("mtp_layers"))
    runner, spec, dtype = runner_of(asked.engine), found.spec, asked.dtype
    flags, notes = runner.flags(asked.flags, asked.version)
    notes = (*found.assumptions, *notes)
    question = LocalQuestion(
        dtype=_FILES.get(dtype or "", dtype or "checkpoint"), flags=flags, machine=asked.machine,
        why=asked.why, engine=asked.engine, words=runner.words, defaults=notes, opens=runner.opens,
        solving=asked.solving, draft=_draft(asked.draft, runner.words),
    )  # fmt: skip
    longest, context = spec.max_position_embeddings, asked.context_tokens
    tokens = context if context is not None else min(8192, longest or 8192)
    if context is None and runner.context is not None:
        usual, source = runner.context(sum(device.bytes for device in asked.machine.devices))
        tokens = min(usual, longest or usual)
        question = changed(question, defaults=(f"--context {tokens}: {source}", *notes))
    if asked.put:
        media, seen = bounded(spec.model_type, *media_items(spec, found.path, asked.put))
        tokens += sum(item.context_tokens for item in media)
        question = changed(question, media=media, defaults=(*question.defaults, *seen))
    if asked.solving and dtype is None and not is_file(spec):
        # A model that is published in MXFP4 keeps it in its file, and has none that is wider.
        published = "mxfp4" in spec.weight_dtypes.values()
        types = ("mxfp4_moe", *LADDER[2:]) if published else LADDER
        return fit_files(spec, question, tokens, types)
    return fit_local(spec, question, tokens)


def _draft(model: Any, words: str) -> Draft | None:
    """Raises UsageError for a program that has no option for one."""
    if model is not None and words != "llama.cpp":
        raise UsageError(f"--draft: how {words} places it is not accounted for")
    return beside_of(model).draft


def with_cache_types(kv_dtype: str | None, flags: Mapping[str, Any]) -> dict[str, Any]:
    """``--kv-dtype K:V`` under llama.cpp's names. Raises UsageError where both are given and differ."""
    found = dict(flags)
    if kv_dtype is None:
        return found
    both = zip(("cache_type_k", "cache_type_v"), cache_types(kv_dtype), strict=True)
    for name, asked in both:
        before = found.get(name)
        if before is not None and _format(before) != _format(asked):
            raise UsageError(
                f"--kv-dtype {kv_dtype} and --{name.replace('_', '-')} {before} say different things: "
                "give one of them"
            )
        found[name] = before or asked
    return found


def _format(name: str) -> str:
    return {"f16": "fp16", "f32": "fp32"}.get(name.lower(), name.lower())


def with_slots(batch: int, flags: Mapping[str, Any]) -> dict[str, Any]:
    """``--batch`` and ``--parallel`` are the same. Raises UsageError where they differ."""
    parallel = flags.get("parallel")
    if parallel is not None and batch not in (1, parallel):
        raise UsageError(f"--batch {batch} and --parallel {parallel} say different things")
    return {**flags, "parallel": parallel or (batch if batch > 1 else None)}
