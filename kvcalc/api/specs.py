"""What ``kvcalc check``, ``kvcalc diff`` and ``kvcalc compare`` ask, for programs."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

from kvcalc import dtypes
from kvcalc.api.arguments import Model, Tokens, attention_of, found_of, tokens, whole, word
from kvcalc.checks.diff import Diff
from kvcalc.checks.question import DiffQuestion, diff_answer
from kvcalc.checks.run import Report, check_paths
from kvcalc.deployment.comparison import CompareQuestion, comparison
from kvcalc.dtypes import cache_dtype
from kvcalc.errors import UsageError
from kvcalc.file_types import weight_dtype
from kvcalc.memory.grid import Row, Variant, rows

T = TypeVar("T")


def check(*paths: str | Path, policy: str | Path | None = None) -> tuple[Report, ...]:
    """Hold specs, and every spec under folders, to every rule: ``kvcalc check``.

    policy: the kvcalc.yaml for all of them; otherwise the nearest upward from each. Problems are in
    the reports. Raises NotFoundError for a path that does not exist, FileError for what cannot be read.
    """
    if not paths:
        raise UsageError("name the specs to check: paths of files or folders")
    return check_paths(map(_folder, paths), None if policy is None else _folder(policy))


def diff(
    base: str,
    *paths: str | Path,
    context_tokens: Tokens = None,
    batch_size: int | None = None,
    dtype: str | None = None,
    kv_dtype: str | None = None,
    tolerances: Mapping[str, str] | None = None,
    policy: str | Path | None = None,
    merge_base: bool = True,
) -> Diff:
    """What specs changed since a git revision: ``kvcalc diff``.

    The workload, and tolerances (``{"weight_bytes": "1%"}``), are the policy's where they are not
    said. Raises UsageError without a repository or a base.
    """
    return diff_answer(DiffQuestion(
        base=base, paths=tuple(map(_folder, paths)) or (Path(),),
        policy=None if policy is None else _folder(policy),
        context_tokens=tokens("context_tokens", context_tokens),
        batch_size=None if batch_size is None else whole("batch_size", batch_size),
        dtype=word("dtype", dtype, weight_dtype),
        kv_dtype=word("kv_dtype", kv_dtype, cache_dtype),
        tolerances=tolerances or {}, merge_base=merge_base,
    ))  # fmt: skip


def grid(
    models: Sequence[Variant | Model] | Variant | Model = (),
    *,
    contexts: Sequence[int | str] = ("8k",),
    batches: Sequence[int] = (1,),
    kv_dtypes: Sequence[str] = ("bf16",),
    encoder_tokens: Tokens = None,
    state_dtype: str | None = None,
    dtype: str | None = None,
    by: str | None = None,
    attentions: Sequence[str] = (),
    set_fields: Sequence[str] = (),
) -> Iterator[Row]:
    """Every combination of models, contexts, batches and cache formats, as ``kvcalc compare`` has them.

    models: variants, specs, names or paths. by: ``cache`` or ``total`` sorts within a workload.
    attentions: in place of a model's own, ``"mla:512"``; set_fields: changes, for a model beside the model
    itself. Raises UsageError for what makes no sense and UnsupportedError for a format that does not fit.
    """
    if by not in (None, "cache", "total"):
        raise UsageError(f"by is 'cache' or 'total', not {by!r}")
    several = isinstance(models, Sequence) and not isinstance(models, str)
    given: Sequence[Variant | Model] = models if several else (models,)  # type: ignore[assignment]
    if not given:
        raise UsageError("grid needs a model: a variant, a spec, a name or a path")
    lengths = [tokens("contexts", each) for each in _several("contexts", contexts)]
    question = CompareQuestion(
        contexts=tuple([0 if each is None else each for each in lengths]),
        batches=tuple([whole("batches", each) for each in _several("batches", batches)]),
        kv_dtypes=tuple([
            word("kv_dtypes", each, cache_dtype) or "bf16" for each in _several("kv_dtypes", kv_dtypes)
        ]),
        encoder_tokens=tokens("encoder_tokens", encoder_tokens),
        state_dtype=word("state_dtype", state_dtype, dtypes.state_dtype),
        dtype=word("dtype", dtype, weight_dtype),
        by=by,
        attentions=tuple(map(attention_of, _several("attentions", attentions))),
        set_fields=tuple(_several("set_fields", set_fields)),
    )  # fmt: skip
    found = (each if isinstance(each, Variant) else found_of(each) for each in given)
    return rows(comparison(found, question).points())


def _several(name: str, values: Sequence[T]) -> Sequence[T]:
    """A list of values. Raises UsageError for one alone."""
    if isinstance(values, str) or not isinstance(values, Sequence):
        raise UsageError(f"{name} is a list, not {values!r}")
    return values


def _folder(path: str | Path) -> Path:
    """A path. Raises UsageError for an empty one, and for what is none."""
    if not isinstance(path, (str, Path)):
        raise UsageError(f"a path is text or a Path, not {path!r}")
    if not str(path):
        raise UsageError("a path is empty; write . for the current folder")
    return Path(path)
