"""The keys of a GGUF header as a reader: typed values of one architecture, and no key forgotten.

Every key under the architecture's name was read, or is known to have no influence on memory, or is
refused by name: llama.cpp adds keys with each architecture, and one that is not known here could be
a window, a shared cache or a head count.
"""

import re
from typing import NoReturn

from kvcalc.convert.gguf import GgufHeader, Items, Value
from kvcalc.convert.stored import wrong_file
from kvcalc.errors import UnsupportedError
from kvcalc.spec.layers import MAX_LAYERS

MAX_DIMENSION = 10**10

# Keys without the architecture's name: provenance, vocabulary, how the file was made.
_FOREIGN = re.compile(r"(general|tokenizer|split|quantize|mradermacher|adapter|imatrix)\.")

# Rotary embedding, scales and soft caps, norms' epsilons, routing: numbers, no tensors.
_IRRELEVANT = re.compile(
    r"rope\..*|vocab_size|logit_scale|residual_scale|embedding_scale|hidden_activation"
    r"|(attn|final|router)_logit_softcapping|use_parallel_residual|tensor_data_layout"
    r"|attention\.(layer_norm_epsilon|layer_norm_rms_epsilon|scale|output_scale|value_scale"
    r"|max_alibi_bias|clamp_kqv|clamp_q|clamp_k|clamp_v|temperature_(length|scale)|rope_pattern)"
    r"|expert_(weights_scale|weights_norm|gating_func|group_count|group_used_count|group_scale"
    r"|feed_forward_length|shared_feed_forward_length|shared_count|count|latent_length)"
    r"|feed_forward_length|leading_dense_block_count|interleave_moe_layer_step|moe_every_n_layers"
    r"|moe_latent_size|full_attention_interval|attention\.recurrent_layers|swiglu_clamp_(exp|shexp)"
    r"|activation_sparsity_scale|altup\.(active_idx|num_inputs)|embedding_length_per_layer_input"
    # Which layers an image's features join on their way: they have no tensors of their own there.
    r"|n_deepstack_layers|deepstack_mapping"
    r"|experts_per_group|pooling_type|dense_2_feat_(in|out)|dense_3_feat_(in|out)"
)


class Keys:
    """The values of one header, read under the name of its architecture."""

    def __init__(self, header: GgufHeader) -> None:
        self.path = header.path
        self._values = header.values
        self._read: set[str] = set()
        architecture = header.values.get("general.architecture")
        if not isinstance(architecture, str) or not architecture:
            raise wrong_file(
                self.path, "general.architecture is missing: it says what the keys mean"
            )
        self.architecture = architecture

    def wrong(self, key: str, message: str) -> NoReturn:
        """The header contradicts itself."""
        raise wrong_file(self.path, f"{self.architecture}.{key}: {message}")

    def refuse(self, what: str) -> NoReturn:
        """The header says something that kvcalc cannot account for."""
        raise UnsupportedError(
            f"{self.path}: {what}; write the spec by hand ('kvcalc schema' has the language)"
        )

    def value(self, key: str) -> Value | None:
        """A value as it stands, or None."""
        self._read.add(key)
        return self._values.get(f"{self.architecture}.{key}")

    def maybe(self, key: str, least: int = 0) -> int | None:
        """A whole number, or None where the header has none."""
        value = self.value(key)
        return None if value is None else self._whole(key, value, least)

    def number(self, key: str, least: int = 1) -> int:
        """A whole number that the header has to hold."""
        value = self.maybe(key, least)
        if value is None:
            self.wrong(key, "required and missing")
        return value

    def flag(self, key: str, default: bool = False) -> bool:
        """A truth value."""
        value = self.value(key)
        if value is None:
            return default
        if not isinstance(value, bool):
            self.wrong(key, f"expected true or false, found {value}")
        return value

    def per_layer(self, key: str, num_layers: int, default: list[int] | None = None) -> list[int]:
        """A whole number for each layer: one for all, or an array."""
        value = self.value(key)
        if value is None:
            if default is None:
                self.wrong(key, "required and missing")
            return default
        if not isinstance(value, Items):
            return [self._whole(key, value, 0)] * num_layers
        if value.values is None or value.count < num_layers:
            self.wrong(key, f"has {value.count} entries for {num_layers} layers")
        return [self._whole(key, item, 0) for item in value.values[:num_layers]]

    def flags(self, key: str, num_layers: int) -> list[bool] | int | None:
        """A truth value for each layer, or the period of a pattern, or None."""
        value = self.value(key)
        if not isinstance(value, Items):
            return None if value is None else self._whole(key, value, 0)
        if value.values is None or value.count < num_layers:
            self.wrong(key, f"has {value.count} entries for {num_layers} layers")
        return [bool(item) for item in value.values[:num_layers]]

    def _whole(self, key: str, value: Value, least: int) -> int:
        if isinstance(value, bool) or not isinstance(value, int):
            shown = f"{value.count} items" if isinstance(value, Items) else str(value)[:40]
            self.wrong(key, f"expected a whole number, found {shown}")
        most = MAX_LAYERS if key == "block_count" else MAX_DIMENSION
        if not least <= value <= most:
            self.wrong(key, f"{value} is out of range ({least} to {most})")
        return value

    def finish(self) -> None:
        """Refuse the keys of the architecture that nothing has accounted for."""
        prefix = f"{self.architecture}."
        for name, value in self._values.items():
            if not name.startswith(prefix):
                if not _FOREIGN.match(name) and "." in name and self._matters(name):
                    self.refuse(f"the key '{name}' belongs to another architecture")
                continue
            key = name.removeprefix(prefix)
            if key in self._read or _IRRELEVANT.fullmatch(key) or value in (0, False, ""):
                continue
            self.refuse(
                f"'{name}' is a key that kvcalc does not account for in {self.architecture} files, "
                f"and it could change what the model keeps"
            )

    @staticmethod
    def _matters(name: str) -> bool:
        """A dimension under another architecture's name, as in a file that was renamed by hand."""
        return name.partition(".")[2] in ("block_count", "embedding_length")
