"""``kvcalc verify``: hold the calculator against PyTorch models that run."""

import sys
from collections.abc import Iterator
from enum import StrEnum
from importlib.util import find_spec
from typing import TYPE_CHECKING, Annotated

import typer

from kvcalc.cli import options
from kvcalc.errors import KvcalcError, MissingExtraError, UsageError
from kvcalc.spec.catalog import load, shipped

if TYPE_CHECKING:
    from kvcalc.spec.model import ModelSpec
    from kvcalc.verify.proofs import Verification

INSTALL = "pip install 'kvcalc[verify]'"
INSTALL_HF = "pip install 'kvcalc[hf]'"


class Device(StrEnum):
    """Where the models run."""

    cpu = "cpu"
    cuda = "cuda"


class Against(StrEnum):
    """What the calculator is held against."""

    reference = "reference"
    transformers = "transformers"


class VerifyFormat(StrEnum):
    """How the answer is printed."""

    table = "table"
    json = "json"
    markdown = "markdown"


def verify(
    models: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="MODEL...",
            help="Shipped models (see 'kvcalc models'), hub ids or paths of YAML specs.",
            autocompletion=options.complete_model,
            show_default=False,
        ),
    ] = None,
    every: Annotated[bool, typer.Option("--all", help="All shipped models.")] = False,
    device: Annotated[Device, typer.Option(help="Where the models run.")] = Device.cpu,
    against: Annotated[
        Against, typer.Option(help="The project's own modules, or transformers' models.")
    ] = Against.reference,
    format: Annotated[
        VerifyFormat, typer.Option("--format", help="How to print the answer.")
    ] = VerifyFormat.table,
) -> None:
    """Build models, run them, and compare what they own and keep. Exit status 1 for a mismatch.

    Four proofs: parameters and cache equal the formula tensor by tensor; the cache is sufficient
    to decode with; each cached tensor is necessary.

    Example: kvcalc verify llama-3-8b
    """
    if every == bool(models):
        raise UsageError("name the models to verify, or --all for every shipped one")
    if device is Device.cuda:
        raise UsageError("--device cuda: measuring on a GPU is not built yet; --device cpu works")
    _require(against)
    names = list(shipped()) if every else list(models or ())
    results = tuple(_results(names, against, lone=len(names) == 1))
    print(_render(results, format), end="")
    if not all(found.passed for found in results):
        raise typer.Exit(1)


def _require(against: Against) -> None:
    """Raise MissingExtraError where a library is not installed; import nothing."""
    if find_spec("torch") is None:
        raise MissingExtraError(f"verify runs models, and torch is not installed: {INSTALL}")
    if against is Against.transformers and find_spec("transformers") is None:
        raise MissingExtraError(
            f"--against transformers needs the library, which is not installed: {INSTALL_HF}"
        )


def _results(names: list[str], against: Against, lone: bool) -> Iterator["Verification"]:
    """One result per model; one that cannot run is an error alone and a finding among others."""
    # All are read first: a misspelt name is not found out after minutes of proofs.
    for number, spec in enumerate([load(name) for name in names], start=1):
        if not lone:
            _say(f"[{number}/{len(names)}] {spec.name}")
        try:
            yield _verified(spec, against, lone)
        except KvcalcError as error:
            if lone:
                raise
            yield _trouble(spec, against, error)


def _verified(spec: "ModelSpec", against: Against, aloud: bool) -> "Verification":
    if against is Against.transformers:
        from kvcalc.verify.against_transformers import verify as verify_twin

        return verify_twin(spec)
    from kvcalc.verify.runner import verify as verify_reference

    return verify_reference(spec, _say if aloud else lambda text: None)


def _trouble(spec: "ModelSpec", against: Against, error: KvcalcError) -> "Verification":
    from kvcalc.verify.proofs import Verification

    return Verification(
        model=spec.name, source=spec.source, device="cpu", against=against.value,
        torch_version="", proofs=(), trouble=f"could not run: {error.message}",
    )  # fmt: skip


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _render(results: "tuple[Verification, ...]", format: VerifyFormat) -> str:
    if format is VerifyFormat.json:
        from kvcalc.report import verify_json

        return verify_json.render(results)
    if format is VerifyFormat.markdown:
        from kvcalc.report import verify_markdown

        return verify_markdown.render(results)
    from kvcalc.report import verify_table

    return verify_table.render(results)
