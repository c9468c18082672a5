"""``kvcalc schema``: the JSON Schema of a spec, of a team's policy, and of what commands answer."""

from typing import Annotated

from kvcalc.cli import kinds
from kvcalc.cli.output import write
from kvcalc.report.objects import ANSWERS


def schema(
    policy: Annotated[
        bool, kinds.switch("--policy", "The schema of kvcalc.yaml, the team's budgets.")
    ] = False,
    answer: Annotated[
        str | None,
        kinds.choice(
            ANSWERS, "The schema of what this command prints with --format json.", shown=False
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

        if policy:
            raise UsageError("--policy and --answer ask for different schemas: leave one out")
        write(text(answers.schema(answer)))
        return
    from pathlib import Path

    import kvcalc

    # The files that kvcalc.spec.schema and kvcalc.checks.policy_schema generate; tests hold them to
    # the dataclasses.
    name = "checks/policy_schema.json" if policy else "spec/schema.json"
    print((Path(kvcalc.__file__).parent / name).read_text("utf-8"), end="")
