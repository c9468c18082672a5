"""``kvcalc schema``: the JSON Schema of a spec, of a team's policy, and of what commands answer."""

from typing import Annotated

import typer

from kvcalc.cli import completion
from kvcalc.cli.options import choices, folded, none_of
from kvcalc.cli.output import write
from kvcalc.report.objects import ANSWERS


def schema(
    policy: Annotated[
        bool, typer.Option("--policy", help="The schema of kvcalc.yaml, the team's budgets.")
    ] = False,
    answer: Annotated[
        str | None,
        typer.Option(
            help="The schema of what this command prints with --format json.",
            metavar=choices(ANSWERS),
            autocompletion=completion.one_of(tuple(ANSWERS)),
            show_default=False,
        ),
    ] = None,
) -> None:
    """The JSON Schema of a spec, of kvcalc.yaml or of an answer.

    It is draft-07, which check-jsonschema and editors read.

    Example: kvcalc schema > kvcalc.schema.json
    """
    if answer is not None:
        from kvcalc.errors import UsageError
        from kvcalc.report.objects import schema as answers
        from kvcalc.spec.schema import text

        if folded(answer) not in ANSWERS:
            raise none_of("--answer", answer, ANSWERS)
        if policy:
            raise UsageError("--policy and --answer ask for different schemas: leave one out")
        write(text(answers.schema(folded(answer))))
        return
    from pathlib import Path

    import kvcalc

    # The files that kvcalc.spec.schema and kvcalc.checks.policy_schema generate; tests hold them to
    # the dataclasses.
    name = "checks/policy_schema.json" if policy else "spec/schema.json"
    print((Path(kvcalc.__file__).parent / name).read_text("utf-8"), end="")
