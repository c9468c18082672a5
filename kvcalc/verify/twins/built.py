"""A twin built on the meta device, run there, and its cache read tensor by tensor."""

import inspect
from collections.abc import Iterator
from functools import partial
from typing import Any

from kvcalc.verify.twins.twin import Twin

# What the classes call the cache that they take and return: since 5.24.0 the first, and the others
# with a FutureWarning; before, the second or the third. RWKV has a list of tensors.
CACHE_NAMES = ("cache", "past_key_values", "cache_params", "state")


def cache_argument(model: Any) -> str:
    """The argument in which a model takes its cache."""
    known = inspect.signature(type(model).forward).parameters
    return next((name for name in CACHE_NAMES if name in known), CACHE_NAMES[0])


_HEADLESS = {"glm5_next_text": "Glm5NextTextModel"}
_WITH_TOWERS = {"mistral4": "Mistral4ForCausalLM", **_HEADLESS}


class Built:
    """A transformers model on the meta device, and how to run it and read its cache."""

    def __init__(self, twin: Twin) -> None:
        import torch
        import transformers
        from transformers.models.auto import modeling_auto

        self.torch, self.twin = torch, twin
        tables: dict[str, Any] = {
            "causal": modeling_auto.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES,
            "seq2seq": {
                **dict(modeling_auto.MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING_NAMES),
                **dict(modeling_auto.MODEL_FOR_SPEECH_SEQ_2_SEQ_MAPPING_NAMES),
            },
            "base": modeling_auto.MODEL_MAPPING_NAMES,
        }
        table = tables[twin.kind]
        # Published with their towers, so that the table has no class for their text models.
        name = {**table, **_WITH_TOWERS}[twin.model_type]
        self.config = transformers.CONFIG_MAPPING[twin.model_type](**twin.values)
        self.config._attn_implementation = "eager"
        cls = self._class(name if isinstance(name, str) else name[0])
        before = torch.get_default_dtype()
        torch.set_default_dtype(torch.bfloat16)
        try:
            with torch.device("meta"):
                self.model = cls(self.config).eval()
                if twin.model_type in _HEADLESS:
                    self.model = _with_head(self.model, self.config)
        finally:
            torch.set_default_dtype(before)
        self._take_choices_out()

    def _take_choices_out(self) -> None:
        """Let layers run whose choices depend on data, which meta tensors have not. Nothing kept does."""
        for module in self.model.modules():
            kind = type(module).__name__
            if self.twin.model_type in ("dbrx", "longcat_flash") and kind.endswith("Experts"):
                # Their loop goes over the experts that tokens chose: here they pass their input on.
                module.forward = _pass_on
            elif hasattr(module, "get_pooled_states"):
                module.get_pooled_states = partial(_all_pools, module.index_kpool)
            elif kind == "Qwen4ExpTextQSAIndexer":
                module.forward = partial(_all_chosen, module)

    def _class(self, name: str) -> Any:
        import transformers

        found = getattr(transformers, name, None)
        if found is not None:
            return found
        from importlib import import_module

        model_type = self.twin.model_type
        module = import_module(f"transformers.models.{model_type}.modeling_{model_type}")
        return getattr(module, name)

    def run(self, cache: Any, tokens: int, encoder_tokens: int) -> Any:
        """One forward pass over ``tokens`` new tokens; the cache it leaves."""
        torch = self.torch
        ids = torch.zeros((1, tokens), dtype=torch.long, device="meta")
        arguments: dict[str, Any] = {} if self.twin.kind == "base" else {"use_cache": True}
        if self.twin.kind == "seq2seq":
            width = getattr(self.config, "d_model", self.config.hidden_size)
            states = torch.zeros((1, encoder_tokens, width), dtype=torch.bfloat16, device="meta")
            arguments |= {"decoder_input_ids": ids, "encoder_outputs": (states,)}
        else:
            arguments |= {"input_ids": ids}
        if self.twin.kind != "base":
            arguments |= {cache_argument(self.model): cache}
        with torch.no_grad():
            out = self.model(**arguments)
        return next((out[name] for name in CACHE_NAMES if name in dict.keys(out)), cache)

    def new_cache(self) -> Any:
        """The cache to hand to the first pass; None where the model makes its own."""
        from transformers import DynamicCache

        if self.twin.model_type == "recurrent_gemma":
            # Its output returns no cache, so it is given one; other states stay on its modules.
            return DynamicCache(config=self.config)
        return None

    def hold(self, cache: Any) -> Iterator[tuple[int, str, Any]]:
        """Every tensor that is kept: (layer, name, tensor), the same one once."""
        known: dict[int, Any] = {}
        for layer, name, tensor in self._everything(cache):
            if id(tensor) not in known and tensor.numel():
                known[id(tensor)] = tensor
                yield layer, name, tensor

    def _everything(self, cache: Any) -> Iterator[tuple[int, str, Any]]:
        model_type = self.twin.model_type
        if cache is None:
            return
        if model_type == "rwkv":
            for index, stacked in enumerate(cache):
                for layer in range(stacked.shape[-1]):
                    yield layer, f"state[{index}]", stacked[..., layer]
            return
        if model_type == "xlstm":
            names = ("memory", "normalizer", "stabilizer")
            for layer, states in cache.rnn_state.items():
                for name, tensor in zip(names, states, strict=True):
                    yield layer, f"rnn_state.{name}", tensor
            return
        own = getattr(cache, "self_attention_cache", cache)
        for layer, held in enumerate(own.layers):
            yield from self._layer(layer, held)
        for layer, tensor in enumerate(getattr(own, "linear_cache", ())):
            if isinstance(tensor, self.torch.Tensor):
                yield layer, "linear_cache", tensor
        if own is not cache:
            for layer, held in enumerate(cache.cross_attention_cache.layers):
                for _, name, tensor in self._layer(layer, held):
                    yield layer, f"cross_{name}", tensor
        if model_type == "recurrent_gemma":
            for layer, module in enumerate(self.model.model.layers):
                block = module.temporal_block
                if getattr(block, "conv1d_state", None) is not None:
                    yield layer, "conv_states", block.conv1d_state
                    yield layer, "recurrent_states", block.rg_lru.recurrent_states

    def _layer(self, layer: int, held: Any) -> Iterator[tuple[int, str, Any]]:
        for name, value in vars(held).items():
            if name.startswith("_"):
                continue
            if isinstance(value, self.torch.Tensor):
                # Places of tokens, integers, are no part of what is counted.
                if name != "indexer_position_ids":
                    yield layer, name, value
            elif isinstance(value, dict):
                for key, tensor in value.items():
                    if isinstance(tensor, self.torch.Tensor) and tensor.dtype != self.torch.int64:
                        suffix = f".{key}" if isinstance(key, str) else f"[{key}]" if key else ""
                        yield layer, name + suffix, tensor


def _with_head(model: Any, config: Any) -> Any:
    """A text model that transformers has no causal class for, with the head that the whole model has."""
    from torch import nn

    class Headed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = model
            if not config.tie_word_embeddings:
                self.lm_head = nn.Linear(config.hidden_size, config.vocab_size, bias=False)

        def forward(
            self, input_ids: Any, past_key_values: Any = None, use_cache: bool = True
        ) -> Any:
            return self.model(input_ids, past_key_values=past_key_values, use_cache=use_cache)

    return Headed().eval()


def _all_pools(size: int, packed_states: Any) -> tuple[Any, Any, Any]:
    """GLM-5.3-Flash's pools: keys, the places of their tokens, and which are full; all are, here."""
    number = -(-packed_states.shape[1] // size)
    width = (packed_states.shape[2] - 1) // 2
    keys = packed_states[:, :number, :width]
    places = packed_states.new_zeros((keys.shape[0], number, size)).long()
    return keys, places, places[..., 0].bool()


def _all_chosen(
    module: Any,
    hidden_states: Any,
    position_embeddings: Any,
    attention_mask: Any,
    past_key_values: Any,
) -> Any:
    """Qwen4-Exp's indexer: it keeps its raw keys, and here chooses every token."""
    width = module.index_kv_heads * module.index_head_dim
    keys = module.index_qk_proj(hidden_states)[..., -width:]
    if past_key_values is not None:
        keys = past_key_values.update_indexer(keys, module.layer_idx)
    shape = (*attention_mask.shape[:-1], keys.shape[1])
    return attention_mask.new_ones(shape).bool()


def _pass_on(hidden_states: Any, *_: Any) -> Any:
    return hidden_states
