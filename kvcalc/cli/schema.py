"""``kvcalc schema``: the JSON Schema of a spec."""


def schema() -> None:
    """Print the JSON Schema (draft-07) of a spec, for editors and check-jsonschema.

    Example: kvcalc schema > kvcalc.schema.json
    """
    from pathlib import Path

    import kvcalc.spec

    # The file that kvcalc.spec.schema generates; a test holds it to the dataclasses.
    print((Path(kvcalc.spec.__file__).with_name("schema.json")).read_text("utf-8"), end="")
