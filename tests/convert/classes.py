"""What every class of transformers builds for a drawn config: `python -m tests.convert.classes`.

Two draws of each type, one tied and one not, through every class of its module that
ends in one of SUFFIXES, on the meta device (two minutes). tests/convert/classes.json holds the
parameters with the release and the day; test_classes.py replays them against kvcalc without torch.
"""

import json
from datetime import UTC, datetime
from importlib import import_module
from pathlib import Path
from typing import Any

from kvcalc.convert.hf import TRANSFORMERS, class_defaults
from kvcalc.convert.model_types import CONVERTERS
from tests.convert.class_defaults import is_of_this_release
from tests.convert.draws import draw

FILE = Path(__file__).with_name("classes.json")
SUFFIXES = (
    "ForMaskedLM", "ForSequenceClassification", "ForTokenClassification", "ForQuestionAnswering",
    "ForCausalLM", "Model",
)  # fmt: skip
LABELS = 3

# Classes that are not compared, and why. Bases without layers are no models and are not listed.
EXCEPTED = {
    "Phi4MultimodalModel": "its towers stand inside the language model, which alone is counted",
    "Phi4MultimodalForCausalLM": "its towers stand inside the language model, which alone is counted",
    "T5GemmaEncoderModel": "takes a config of its own",
    "DistilBertForQuestionAnswering": "takes two labels only; see test_classes.py",
}


def config(model_type: str, seed: int) -> dict[str, Any]:
    """A draw with three labels; the second is tied where the first is not, and the other way round."""
    values = draw(model_type, seed, class_defaults()[model_type]["defaults"])
    values["id2label"] = {str(index): f"label {index}" for index in range(LABELS)}
    if seed:
        values["tie_word_embeddings"] = not config(model_type, 0).get("tie_word_embeddings", True)
    return values


def measure(model_type: str) -> dict[str, list[int | None]]:
    """Class -> parameters of each draw; None where the config's class refuses the draw."""
    import torch
    from huggingface_hub.errors import StrictDataclassError
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING

    cls = CONFIG_MAPPING[model_type]
    try:
        module = import_module(cls.__module__.replace("configuration_", "modeling_"))
    except ModuleNotFoundError:
        return {}
    found: dict[str, list[int | None]] = {}
    for name in sorted(vars(module)):
        model = getattr(module, name)
        if not name.endswith(SUFFIXES) or name in EXCEPTED or "reTrained" in name:
            continue
        if getattr(model, "__module__", "") != module.__name__ or model.config_class is not cls:
            continue
        totals: list[int | None] = []
        for seed in (0, 1):
            values = {k: v for k, v in config(model_type, seed).items() if k != "model_type"}
            try:
                settings = cls.from_dict(values)
            except StrictDataclassError:
                totals.append(None)
                continue
            with torch.device("meta"):
                built = model(settings)
            built.tie_weights()
            totals.append(sum(parameter.numel() for parameter in built.parameters()))
        if totals[0]:
            found[name] = totals
    return found


def main() -> None:
    from transformers.utils import logging

    logging.set_verbosity_error()
    before = json.loads(FILE.read_text("utf-8"))
    table = {
        model_type: measure(model_type)
        if is_of_this_release(model_type)
        else before.get(model_type, {})
        for model_type in CONVERTERS
    }
    head = {"transformers": TRANSFORMERS, "measured": datetime.now(UTC).date().isoformat()}
    lines = [
        f"{json.dumps(key)}: {json.dumps(value)}" for key, value in (head | table).items() if value
    ]
    FILE.write_text("{\n" + ",\n".join(lines) + "\n}\n", "utf-8")


if __name__ == "__main__":
    main()
