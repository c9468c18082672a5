"""Everything that ``kvcalc diff`` is asked: the command and the library ask here."""

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from kvcalc.checks.budget_language import Policy
from kvcalc.checks.diff import Diff, Pair, diff
from kvcalc.checks.policy import find_policy, load_policy
from kvcalc.checks.quantities import parse_tolerances
from kvcalc.frozen import frozen
from kvcalc.memory.workload import Asked


@frozen(kw_only=True)
class DiffQuestion:
    """What was asked, whoever asked it.

    base: a revision. paths: of specs, and folders of them. policy: the team's file; None takes the nearest
    upward from the first path. context_tokens to kv_dtype: None takes the policy's workload. tolerances:
    quantity -> bound, over the policy's. merge_base: compare with where this branch left the base.
    """

    base: str
    paths: tuple[Path, ...] = (Path(),)
    policy: Path | None = None
    context_tokens: int | None = None
    batch_size: int | None = None
    dtype: str | None = None
    kv_dtype: str | None = None
    tolerances: Mapping[str, str] = {}
    merge_base: bool = True


def diff_answer(
    question: DiffQuestion,
    watch: Callable[[Iterable[Pair], int], Iterable[Pair]] = lambda pairs, total: pairs,
) -> Diff:
    """The answer. watch: sees both sides of every file go by, and how many there are.

    Raises UsageError without a repository or a base and for a tolerance that is none, NotFoundError and
    FileError for a policy, and as ``diff`` does.
    """
    team = _policy(question)
    served, said = team.workload.asked, question.context_tokens
    reference = Asked(
        context_tokens=served.context_tokens if said is None else said,
        batch_size=question.batch_size or served.batch_size,
        dtype=question.dtype or served.dtype,
        kv_dtype=question.kv_dtype or served.kv_dtype,
    )
    tolerances = parse_tolerances(dict(team.tolerances) | dict(question.tolerances))
    return diff(question.paths, question.base, reference, tolerances,
                merge_base=question.merge_base, watch=watch)  # fmt: skip


def _policy(question: DiffQuestion) -> Policy:
    """The policy that is named, or the nearest upward; one that says nothing where there is none."""
    first = question.paths[0]
    file = question.policy or find_policy(first if first.is_dir() else first.parent)
    loaded = load_policy(file).policy if file is not None else None
    return loaded or Policy()
