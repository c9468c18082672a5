"""``kvcalc fit`` and ``capacity`` where llama.cpp is the engine: its flags, its machines."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from kvcalc.cli import options
from kvcalc.cli.groups import Output
from kvcalc.convert.beside import beside_of
from kvcalc.errors import UsageError
from kvcalc.frozen import changed
from kvcalc.media.asked import NOTHING, MediaWords

if TYPE_CHECKING:
    from kvcalc.deployment.hardware import Accelerator
    from kvcalc.engines.llama_cpp.local import LocalQuestion
    from kvcalc.memory.asked_beside import Draft
    from kvcalc.spec.catalog import Found
    from kvcalc.spec.model import ModelSpec

# Engines that are llama.cpp, with defaults of their own.
LOCAL = ("llama.cpp", "ollama", "lm-studio")
# Files of one plain format, under the names of their types.
_FILES = {"bf16": "gguf-bf16", "fp16": "gguf-f16", "fp32": "gguf-f32"}
# What says where tensors lie: without it, that is to be found.
_PLACES = ("n_gpu_layers", "n_cpu_moe", "cpu_moe", "override_tensor", "tensor_split", "split_mode",
           "main_gpu", "kv_offload")  # fmt: skip


def machine_of(
    gpus: Sequence[str] | str | None, gpu_memory: str | None, count: int, ram: str | None,
    reserve: str | None, unnamed: int = 0,
) -> Any:  # fmt: skip
    """The devices that were named, each once, or ``count`` of one; none: the CPU alone.

    unnamed: equal devices of which nothing is known.
    """
    from kvcalc.deployment.hardware import find, of_size
    from kvcalc.engines.llama_cpp.memory import Machine, Unnamed

    gpus = options.gpu_list(gpus)
    if not gpus and gpu_memory is None and ram is None and not unnamed:
        raise UsageError("say --gpu NAME, --gpu-memory SIZE, or --ram SIZE for the CPU alone")
    if gpus and gpu_memory is not None:
        raise UsageError("give --gpu or --gpu-memory, not both")
    found: list[Accelerator] = [find(name) for name in gpus]
    if gpu_memory is not None:
        found = [of_size(gpu_memory)]
    if count > 1 and len(found) > 1 and count != len(found):
        raise UsageError(f"{len(found)} devices are named, and {count} are asked for")
    if count > 1 and len(found) == 1:
        found *= count
    if unnamed and len(found) not in (0, 1, unnamed):
        raise UsageError(f"--devices {unnamed}: {len(found)} are named")
    if unnamed and len(found) == 1:
        found *= unnamed
    devices: tuple[Any, ...] = tuple(found) or tuple(Unnamed(f"device {i}") for i in range(unnamed))
    return Machine(
        devices=devices, ram=options.num_bytes(ram, "--ram"),
        reserve=options.num_bytes(reserve, "--reserve") or 0,
    )  # fmt: skip


def cache_types(kv_dtype: str | None, given: dict[str, Any]) -> dict[str, Any]:
    """``--kv-dtype K:V`` under llama.cpp's names. Raises UsageError where both are given and differ."""
    if kv_dtype is None:
        return given
    from kvcalc.engines.llama_cpp import flags

    found = dict(given)
    for name, asked in zip(
        ("cache_type_k", "cache_type_v"), flags.cache_types(kv_dtype), strict=True
    ):
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


def slots(
    batch: int, kv_dtype: str | None, given: dict[str, Any], speculative: int | None = None,
    mtp: int | None = None,
) -> dict[str, Any]:  # fmt: skip
    """The flags with ``--kv-dtype`` under llama.cpp's names, and ``--batch`` and ``--parallel``, which are
    the same thing. speculative: draft tokens of a step. mtp: layers that draft. Raises UsageError where
    they differ."""
    given = cache_types(kv_dtype, given)
    parallel = given.get("parallel")
    if parallel is not None and batch not in (1, parallel):
        raise UsageError(f"--batch {batch} and --parallel {parallel} say different things")
    one = parallel or (batch if batch > 1 else None)
    return given | {"parallel": one, "speculative_tokens": speculative, "mtp_layers": mtp or None}


def is_table(
    engine: str, gpus: Sequence[str] | None, devices: int | None, ram: str | None,
    reserve: str | None, given: Mapping[str, Any],
) -> bool:  # fmt: skip
    """Whether ``capacity`` is asked for the whole memory table, not for the caches alone."""
    places = any(given.get(name) is not None for name in _PLACES)
    return (
        engine != "llama.cpp"
        or places
        or any(value is not None for value in (gpus, devices, ram, reserve))
    )


def table(
    found: "Found", engine: str, machine: Any, dtype: str | None, asked: str | None,
    given: dict[str, Any], version: str | None, output: Output, draft: str | None = None,
) -> None:  # fmt: skip
    """``capacity``: the table for these flags, as they are; cells in all are --ctx-size."""
    context = options.tokens(asked, "--context")
    cells = given.pop("ctx_size", None)
    count = given.get("parallel") or 1
    if cells is not None and context is not None:
        raise UsageError("--context is one request's and --ctx-size all slots': give one of them")
    if cells is not None:
        context = max(1, cells // count)
    given = cache_types(given.pop("kv_dtype", None), given)
    fit_locally(found, engine, machine, dtype, context, given, version, "", output, solving=False,
                draft=draft)  # fmt: skip


def fit_locally(
    found: "Found", engine: str, machine: Any, dtype: str | None, context: int | None,
    given: dict[str, Any], version: str | None, why: str, output: Output,
    solving: bool = True, put: MediaWords = NOTHING, path: str = "", draft: str | None = None,
) -> int:  # fmt: skip
    """Answer, and the exit status. put: what comes on top of the context; path: the model's. solving:
    where the flags leave open what lies where. draft: the model that drafts."""
    from kvcalc.deployment.hardware import Accelerator
    from kvcalc.engines.llama_cpp.local import LocalQuestion, fit_local
    from kvcalc.engines.llama_cpp.runners import runner_of
    from kvcalc.report.answers.local import answer

    for device in machine.devices:
        if isinstance(device, Accelerator):
            options.record("llama.cpp").check_device(device, version)
    runner = runner_of(engine)
    flags, notes = runner.flags(given, version)
    spec, notes = found.spec, (*found.assumptions, *notes)
    question = LocalQuestion(
        dtype=_FILES.get(dtype or "", dtype or "checkpoint"),
        flags=flags, machine=machine, why=why, engine=engine, words=runner.words, defaults=notes,
        opens=runner.opens, solving=solving, draft=_draft(draft, runner.words),
    )  # fmt: skip
    longest = spec.max_position_embeddings
    tokens = context if context is not None else min(8192, longest or 8192)
    if context is None and runner.context is not None:
        found_tokens, source = runner.context(sum(device.bytes for device in machine.devices))
        tokens = min(found_tokens, longest or found_tokens)
        question = changed(question, defaults=(f"--context {tokens}: {source}", *notes))
    if put:
        from kvcalc.convert.media import media_items
        from kvcalc.media.llama_cpp import bounded

        media, seen = media_items(spec, path, put)
        media, seen = bounded(spec.model_type, media, seen)
        tokens += sum(item.context_tokens for item in media)
        question = changed(question, media=media, defaults=(*question.defaults, *seen))
    if solving and dtype is None and not is_file(spec):
        return _files(spec, question, tokens, output)
    fit = fit_local(spec, question, tokens)
    output.show(answer(fit))
    return 0 if fit.fits else 1


def _draft(model: str | None, words: str) -> "Draft | None":
    """Raises UsageError for a program that has no option for one."""
    if model is not None and words != "llama.cpp":
        raise UsageError(f"--draft: how {words} places it is not accounted for")
    return beside_of(model).draft


def _files(spec: "ModelSpec", question: "LocalQuestion", context: int, output: Output) -> int:
    """No type was said: which of them fit, and how."""
    from kvcalc.engines.llama_cpp.files import fit_files
    from kvcalc.file_types import LADDER
    from kvcalc.report.answers.local_files import answer

    # A model that is published in MXFP4 keeps it in its file, and has none that is wider.
    published = "mxfp4" in spec.weight_dtypes.values()
    found = fit_files(spec, question, context, ("mxfp4_moe", *LADDER[2:]) if published else LADDER)
    output.show(answer(found))
    return 0 if found.widest is not None else 1


def is_file(spec: "ModelSpec") -> bool:
    """Whether the model came with a file that llama.cpp loads."""
    from kvcalc.engines.llama_cpp.file import is_gguf

    return spec.own_dtype == "checkpoint" and is_gguf(spec)
