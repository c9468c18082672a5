"""``kvcalc verify``: hold the calculator against PyTorch models that run."""

from collections.abc import Callable, Iterator
from functools import partial
from importlib.util import find_spec
from typing import TYPE_CHECKING, Annotated

import typer

from kvcalc.cli import completion, kinds, options
from kvcalc.cli.groups import show
from kvcalc.cli.progress import Progress
from kvcalc.convert.locate import load
from kvcalc.errors import KvcalcError, MissingExtraError, UsageError
from kvcalc.report.answers.verify import answer
from kvcalc.spec.catalog import shipped

if TYPE_CHECKING:
    from kvcalc.proofs import Verification
    from kvcalc.spec.model import ModelSpec

Run = Callable[..., "Verification | None"]
Say = Callable[[str], None]
INSTALL = "pip install 'kvcalc[verify]'"
INSTALL_HF = "pip install 'kvcalc[hf]'"


_Models = Annotated[
    list[str] | None, kinds.argument("[MODEL]...", options.MODELS, completion.model)
]
_Every = Annotated[bool, kinds.switch("--all", "All shipped models.")]
_Device = Annotated[str, kinds.choice(("cpu", "cuda"), "Where the models run.")]
_Against = Annotated[
    str,
    kinds.choice(
        ("reference", "transformers"), "The project's own modules, or transformers' models."
    ),
]
_Context = Annotated[
    str, kinds.option("TOKENS", "With --device cuda: cached tokens of one sequence.")
]
_Batch = Annotated[int, kinds.num("--batch", "With --device cuda: sequences.")]
_Backend = Annotated[
    str,
    kinds.choice(("eager", "sdpa"), "With --device cuda: eager scores, or a fused kernel."),
]
_Ranks = Annotated[
    int, kinds.num("--tp", "Tensor-parallel ranks, under torchrun --nproc-per-node N.")
]


def verify(
    models: _Models = None,
    every: _Every = False,
    device: _Device = "cpu",
    against: _Against = "reference",
    context: _Context = "8k",
    batch: _Batch = 1,
    attention_backend: _Backend = "eager",
    tp: _Ranks = 1,
    format: options.OutputFormat = "table",
    quiet: options.QuietFindings = False,
) -> None:
    """Hold the numbers against PyTorch models that are built and run.

    Exit status 1 for a mismatch.

    Four proofs: parameters and cache equal the formula tensor by tensor; the cache is sufficient
    to decode with; each cached tensor is necessary. On a GPU, bytes are the allocator's, at true
    size; with --tp, each rank's.

    Example: kvcalc verify llama-3-8b
    """
    if every == bool(models):
        raise UsageError("name the models to verify, or --all for every shipped one")
    if against == "transformers" and (device == "cuda" or tp > 1):
        raise UsageError("--against transformers compares on the meta device: no --device, no --tp")
    tokens = options.tokens(context, "--context") or 0
    _require(against)
    names = list(shipped()) if every else list(models or ())
    run: Run
    if tp > 1:
        run = partial(_over_ranks, tp=tp, cuda=device == "cuda")
    elif device == "cuda":
        run = partial(_measured, tokens=tokens, batch=batch, backend=attention_backend)
    else:
        run = partial(_verified, against=against)
    # All are read first: a misspelt name is not found out after minutes of proofs.
    specs = [load(name) for name in names]
    with Progress("verifying", len(specs), quiet=quiet) as progress:
        results = tuple(_results(specs, run, against, progress))
    if not results:  # a rank that does not report
        return
    if quiet and format not in ("json", "csv"):
        results = tuple(found for found in results if not found.passed)
    if results:
        show(format, answer(results))
    if not all(found.passed for found in results):
        raise typer.Exit(1)


def _require(against: str) -> None:
    """Raise MissingExtraError where a library is not installed; import nothing."""
    if find_spec("torch") is None:
        raise MissingExtraError(f"verify runs models, and torch is not installed: {INSTALL}")
    if against == "transformers" and find_spec("transformers") is None:
        raise MissingExtraError(
            f"--against transformers needs the library, which is not installed: {INSTALL_HF}"
        )


def _results(
    specs: "list[ModelSpec]", run: Run, against: str, progress: Progress
) -> Iterator["Verification"]:
    """One result per model; one that cannot run is an error alone and a finding among others."""
    for spec in specs:
        progress.step(spec.name)
        try:
            found = run(spec, say=progress.say)
            if found is not None:
                yield found
        except KvcalcError as error:
            if len(specs) == 1:
                raise
            yield _trouble(spec, against, error)


def _measured(spec: "ModelSpec", tokens: int, batch: int, backend: str, say: Say) -> "Verification":
    from kvcalc.verify.measure import verify as verify_on_device

    return verify_on_device(spec, tokens, batch, backend, say=say)


def _over_ranks(spec: "ModelSpec", tp: int, cuda: bool, say: Say) -> "Verification | None":
    """The verification on rank 0; None on the others, which print nothing, errors neither."""
    from kvcalc.verify import parallel

    try:
        return parallel.verify(spec, tp, cuda, say)
    except KvcalcError:
        if parallel.is_reporting():
            raise
        raise typer.Exit(2) from None


def _verified(spec: "ModelSpec", against: str, say: Say) -> "Verification":
    if against == "transformers":
        from kvcalc.verify.against_transformers import verify as verify_twin

        return verify_twin(spec)
    from kvcalc.verify.runner import verify as verify_reference

    return verify_reference(spec, say)


def _trouble(spec: "ModelSpec", against: str, error: KvcalcError) -> "Verification":
    from kvcalc.proofs import Verification

    return Verification(
        model=spec.name, source=spec.source, device="cpu", against=against,
        torch_version="", proofs=(), trouble=f"could not run: {error.message}",
    )  # fmt: skip
