"""What transformers builds from a config: the model on the meta device, and the cache it keeps."""

from typing import Any


def build(values: dict[str, Any]) -> Any:
    """The model with its head, as AutoModelForCausalLM or its like would build it, without memory."""
    import torch
    from transformers import AutoModel, AutoModelForCausalLM, AutoModelForSeq2SeqLM, AutoModelForSpeechSeq2Seq
    from transformers.models.auto import modeling_auto
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING

    model_type = values["model_type"]
    inner = {key: value for key, value in values.items() if key != "model_type"}
    config = CONFIG_MAPPING[model_type].from_dict(inner)
    auto: Any = AutoModel
    if model_type in modeling_auto.MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING_NAMES:
        auto = AutoModelForSeq2SeqLM
    elif model_type == "whisper":
        auto = AutoModelForSpeechSeq2Seq
    elif model_type in modeling_auto.MODEL_FOR_MASKED_LM_MAPPING_NAMES:
        auto = AutoModel
    elif model_type in modeling_auto.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES:
        auto = AutoModelForCausalLM
    with torch.device("meta"):
        return auto.from_config(config).eval()
