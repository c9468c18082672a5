"""What transformers builds from a config: the model on the meta device, and the cache it keeps."""

from importlib import import_module
from typing import Any

from kvcalc.verify.twins.built import CACHE_NAMES, cache_argument

# Language models inside multimodal ones that no Auto class builds alone: (module, class).
_WITHOUT_AUTO = {
    "apertus1p5_text": ("apertus1p5", "Apertus1p5TextForCausalLM"),
    "emu3_text_model": ("emu3", "Emu3TextModel"),
    "mllama_text_model": ("mllama", "MllamaForCausalLM"),
    "glm5_next_text": ("glm5_next", "Glm5NextTextModel"),
    "granite4_vision_text": ("granite4_vision", "Granite4VisionTextModel"),
    "paddleocr_vl_text": ("paddleocr_vl", "PaddleOCRTextModel"),
    "step3p5": ("step3p7", "Step3p7TextModel"),
    "qwen2_5_omni_text": ("qwen2_5_omni", "Qwen2_5OmniThinkerTextModel"),
    "qwen3_omni_moe_text": ("qwen3_omni_moe", "Qwen3OmniMoeThinkerTextModel"),
}


def build(values: dict[str, Any], device: str = "meta") -> Any:
    """The model with its head, as AutoModelForCausalLM or its like would build it."""
    import torch
    from transformers import (
        AutoModel,
        AutoModelForCausalLM,
        AutoModelForSeq2SeqLM,
        AutoModelForSpeechSeq2Seq,
    )
    from transformers.models.auto import modeling_auto
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING

    model_type = values["model_type"]
    inner = {key: value for key, value in values.items() if key != "model_type"}
    config = CONFIG_MAPPING[model_type].from_dict(inner)
    auto: Any = AutoModel
    if model_type in modeling_auto.MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING_NAMES:
        auto = AutoModelForSeq2SeqLM
    elif model_type == "bert-generation":
        auto = AutoModel
    elif model_type == "whisper":
        auto = AutoModelForSpeechSeq2Seq
    elif model_type in modeling_auto.MODEL_FOR_MASKED_LM_MAPPING_NAMES:
        auto = AutoModel
    elif model_type in modeling_auto.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES:
        auto = AutoModelForCausalLM
    if model_type in _WITHOUT_AUTO:
        module, name = _WITHOUT_AUTO[model_type]
        text_model = getattr(import_module(f"transformers.models.{module}.modeling_{module}"), name)
        with torch.device(device):
            return text_model(config).eval()
    with torch.device(device):
        return auto.from_config(config, experts_implementation="eager").eval()


def cache_bytes(values: dict[str, Any], tokens: int, encoder_tokens: int = 0) -> int:
    """Bytes of every tensor that a model's cache reaches after a prefill, in fp32 on the CPU."""
    import torch
    from transformers import DynamicCache

    model = build(values, device="cpu")
    ids = torch.randint(3, model.config.get_text_config().vocab_size, (1, tokens))
    arguments: dict[str, Any] = {"input_ids": ids, "use_cache": True}
    if values["model_type"] == "whisper":
        frames = 2 * values["max_source_positions"]
        arguments = {"input_features": torch.zeros(1, values["num_mel_bins"], frames),
                     "decoder_input_ids": ids, "use_cache": True}  # fmt: skip
    elif encoder_tokens:
        encoder_ids = torch.randint(3, model.config.vocab_size, (1, encoder_tokens))
        arguments = {"input_ids": encoder_ids, "decoder_input_ids": ids, "use_cache": True}
        if values["model_type"] == "switch_transformers":
            # Its encoder refuses the use_cache that the model hands on to it.
            encoded = model.get_encoder()(encoder_ids)
            arguments = {"encoder_outputs": encoded, "decoder_input_ids": ids, "use_cache": True}
    if values["model_type"] == "recurrent_gemma":
        given = arguments[cache_argument(model)] = DynamicCache(config=model.config)
    with torch.no_grad():
        output = model(**arguments)
    found: dict[tuple[Any, ...], int] = {}
    roots: list[Any] = [output[name] for name in CACHE_NAMES if name in dict.keys(output)]
    if values["model_type"] == "recurrent_gemma":
        # It keeps its states on its modules, and does not return the cache it fills.
        roots = [
            [getattr(module, name, None) for name in ("conv1d_state", "recurrent_states")]
            for module in model.modules()
        ] + [given]
    _walk(roots, found, set())
    return sum(found.values())


def _walk(value: Any, found: dict[tuple[Any, ...], int], seen: set[int]) -> None:
    """Every tensor reachable through lists, dictionaries and attributes; equal views once."""
    import torch
    from transformers import PreTrainedConfig

    if isinstance(value, torch.Tensor):
        key = (value.data_ptr(), tuple(value.shape), tuple(value.stride()))
        # Counters are no cache; a sliding layer has one.
        if value.numel() and value.is_floating_point():
            found[key] = value.numel() * value.element_size()
        return
    if id(value) in seen or isinstance(value, str | bytes | int | float | type(None) | type):
        return
    seen.add(id(value))
    if isinstance(value, dict):
        items = list(value.values())
    elif isinstance(value, list | tuple | set):
        items = list(value)
    else:
        items = list(getattr(value, "__dict__", {}).values())
    for item in items:
        if not isinstance(item, torch.nn.Module | PreTrainedConfig):
            _walk(item, found, seen)


def language_model_parameters(model_type: str, text: dict[str, Any], tie: bool | None) -> int:
    """Parameters of the language model inside a multimodal model, its head included, tied once."""
    import torch
    from transformers import (
        AutoModelForCausalLM,
        AutoModelForImageTextToText,
        AutoModelForMultimodalLM,
    )
    from transformers.models.auto import modeling_auto
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING

    top = {} if tie is None else {"tie_word_embeddings": tie}
    config = CONFIG_MAPPING[model_type].from_dict({**top, "text_config": text})
    auto: Any = AutoModelForMultimodalLM
    if model_type in modeling_auto.MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES:
        auto = AutoModelForImageTextToText
    elif model_type in modeling_auto.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES:
        auto = AutoModelForCausalLM
    with torch.device("meta"):
        model = auto.from_config(config)
    inside = {
        id(parameter): parameter.numel()
        for name, parameter in model.named_parameters(remove_duplicate=False)
        if "language_model" in name or ".text_model." in name or name.startswith("lm_head")
    }
    return sum(inside.values())
