"""``kvcalc verify``: hold the calculator against PyTorch models that run."""

from typing import Annotated

import typer

from kvcalc.cli import completion, kinds, options
from kvcalc.cli.groups import show
from kvcalc.cli.progress import Progress
from kvcalc.convert.locate import load
from kvcalc.errors import UsageError
from kvcalc.report.answers.verify import answer
from kvcalc.spec.catalog import shipped

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
    models: _Models = None, every: _Every = False, device: _Device = "cpu",
    against: _Against = "reference", context: _Context = "8k", batch: _Batch = 1,
    attention_backend: _Backend = "eager", tp: _Ranks = 1, format: options.OutputFormat = "table",
    quiet: options.QuietFindings = False,
) -> None:  # fmt: skip
    """Hold the numbers against PyTorch models that are built and run.

    Exit status 1 for a mismatch.

    Four proofs: parameters and cache equal the formula tensor by tensor; the cache is sufficient
    to decode with; each cached tensor is necessary. On a GPU, bytes are the allocator's, at true
    size; with --tp, each rank's.

    Example: kvcalc verify llama-3-8b
    """
    if every == bool(models):
        raise UsageError("name the models to verify, or --all for every shipped one")
    from kvcalc.verify.question import UnheardError, VerifyQuestion, verify_answer

    question = VerifyQuestion(
        against=against, device=device, tensor=tp, batch_size=batch, backend=attention_backend,
        context_tokens=options.tokens(context, "--context") or 0,
    )  # fmt: skip
    question.check()
    # All are read first: a misspelt name is not found out after minutes of proofs.
    specs = [load(name) for name in (shipped() if every else models or ())]
    try:
        with Progress("verifying", len(specs), quiet=quiet) as progress:
            results = tuple(verify_answer(specs, question, progress))
    except UnheardError:
        raise typer.Exit(2) from None
    if not results:  # a rank that does not report
        return
    if quiet and format not in ("json", "csv"):
        results = tuple(found for found in results if not found.passed)
    if results:
        show(format, answer(results))
    if not all(found.passed for found in results):
        raise typer.Exit(1)
