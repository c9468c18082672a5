"""What transformers builds from a config: the model on the meta device, and the cache it keeps."""

from typing import Any


def build(values: dict[str, Any], device: str = "meta") -> Any:
    """The model with its head, as AutoModelForCausalLM or its like would build it."""
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
    if values["model_type"] == "recurrent_gemma":
        arguments["past_key_values"] = DynamicCache(config=model.config)
    with torch.no_grad():
        output = model(**arguments)
    found: dict[tuple[Any, ...], int] = {}
    roots = [getattr(output, name, None) for name in ("past_key_values", "cache_params", "state")]
    if values["model_type"] == "recurrent_gemma":
        # It keeps its states on its modules, and does not return the cache it fills.
        roots = [
            [getattr(module, name, None) for name in ("conv1d_state", "recurrent_states")]
            for module in model.modules()
        ] + [arguments["past_key_values"]]
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
