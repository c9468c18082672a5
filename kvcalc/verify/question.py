"""Everything that ``kvcalc verify`` is asked, and which witness answers it.

torch is imported by the witness that is asked, not here: what is missing is said before.
"""

from collections.abc import Callable, Iterator, Sequence
from importlib.util import find_spec
from typing import Protocol

from kvcalc.errors import KvcalcError, MissingExtraError, UsageError
from kvcalc.frozen import frozen
from kvcalc.proofs import Verification
from kvcalc.spec.model import ModelSpec

Say = Callable[[str], None]
INSTALL = "pip install 'kvcalc[verify]'"
INSTALL_HF = "pip install 'kvcalc[hf]'"


class Watch(Protocol):
    """Who is told how far it has come: a step is a model."""

    def step(self, text: str) -> None: ...
    def say(self, text: str) -> None: ...


class UnheardError(Exception):
    """A rank that does not report has failed; the one that does says why."""


@frozen(kw_only=True)
class VerifyQuestion:
    """What was asked of every model.

    against: ``reference``, the project's own modules, or ``transformers``. device: ``cpu`` or ``cuda``.
    tensor: ranks, each a process. context_tokens, batch_size, backend (``eager``, ``sdpa``): on a GPU.
    """

    against: str = "reference"
    device: str = "cpu"
    tensor: int = 1
    context_tokens: int = 8192
    batch_size: int = 1
    backend: str = "eager"

    def check(self) -> None:
        """Raise UsageError for what makes no sense together, MissingExtraError where a library is not
        installed; import nothing."""
        twin = self.against == "transformers"
        if twin and (self.device == "cuda" or self.tensor > 1):
            raise UsageError(
                "--against transformers compares on the meta device: no --device, no --tp"
            )
        if find_spec("torch") is None:
            raise MissingExtraError(f"verify runs models, and torch is not installed: {INSTALL}")
        if twin and find_spec("transformers") is None:
            raise MissingExtraError(
                f"--against transformers needs the library, which is not installed: {INSTALL_HF}"
            )


def verify_answer(
    specs: Sequence[ModelSpec], question: VerifyQuestion, watch: Watch
) -> Iterator[Verification]:
    """One result for each model; none on a rank that does not report.

    One that cannot run is an error alone and a finding among others. Raises UnheardError on a rank that
    does not report.
    """
    for spec in specs:
        watch.step(spec.name)
        try:
            found = verified(spec, question, watch.say)
            if found is not None:
                yield found
        except KvcalcError as error:
            if len(specs) == 1:
                raise
            yield _trouble(spec, question.against, error)


def verified(spec: ModelSpec, question: VerifyQuestion, say: Say) -> Verification | None:
    """One model, held against the witness that was asked for; None on a rank that does not report."""
    if question.tensor > 1:
        return _over_ranks(spec, question, say)
    if question.device == "cuda":
        from kvcalc.verify import measure

        return measure.verify(
            spec, question.context_tokens, question.batch_size, question.backend, say=say
        )
    if question.against == "transformers":
        from kvcalc.verify import against_transformers

        return against_transformers.verify(spec)
    from kvcalc.verify import runner

    return runner.verify(spec, say)


def _over_ranks(spec: ModelSpec, question: VerifyQuestion, say: Say) -> Verification | None:
    from kvcalc.verify import parallel

    try:
        return parallel.verify(spec, question.tensor, question.device == "cuda", say)
    except KvcalcError as error:
        if parallel.is_reporting():
            raise
        raise UnheardError from error


def _trouble(spec: ModelSpec, against: str, error: KvcalcError) -> Verification:
    return Verification(
        model=spec.name, source=spec.source, device="cpu", against=against,
        torch_version="", proofs=(), trouble=f"could not run: {error.message}",
    )  # fmt: skip
