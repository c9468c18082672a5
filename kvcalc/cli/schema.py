"""``kvcalc schema``: the JSON Schema of a spec, and of a team's policy."""

from typing import Annotated

import typer


def schema(
    policy: Annotated[
        bool, typer.Option("--policy", help="The schema of kvcalc.yaml, the team's budgets.")
    ] = False,
) -> None:
    """The JSON Schema of a spec, or of kvcalc.yaml, for editors.

    It is draft-07, which check-jsonschema and editors read.

    Example: kvcalc schema > kvcalc.schema.json
    """
    from pathlib import Path

    import kvcalc

    # The files that kvcalc.spec.schema and kvcalc.checks.policy_schema generate; tests hold them to
    # the dataclasses.
    name = "checks/policy_schema.json" if policy else "spec/schema.json"
    print((Path(kvcalc.__file__).parent / name).read_text("utf-8"), end="")
