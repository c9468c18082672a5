"""A GGUF header -> ModelSpec, and the bytes of its tensors by component and by number format.

Each layer's tensors are counted against the inventory of the mechanisms read from them, component
by component, so an import is either exact or refused; so are the tensors beside the layers.
"""

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from kvcalc.convert.gguf import GgufHeader, read_gguf
from kvcalc.convert.gguf_architectures import ARCHITECTURES, Architecture
from kvcalc.convert.gguf_formats import with_gguf_formats
from kvcalc.convert.gguf_keys import Keys
from kvcalc.convert.gguf_layers import LayerTensors, feed_forward, mla, norms, recurrent, softmax
from kvcalc.convert.gguf_projector import said_of_projector, with_projector
from kvcalc.convert.imported import Imported, model_name
from kvcalc.convert.parts import stack
from kvcalc.convert.stored import StoredTensor, model_stem, stored_weights
from kvcalc.errors import Problem, SpecError, UnsupportedError
from kvcalc.memory.inventory import parameter_groups
from kvcalc.names import hint
from kvcalc.spec.consistency import unread_findings
from kvcalc.spec.model import Block, Embedding, ModelSpec, NormKind
from kvcalc.tensors import Component, ParamTensor

_LAYER = re.compile(r"blk\.(\d{1,7})\.(.+)")
# Tables of rotary frequencies, which libraries compute.
_MISTRAL = (
    "every layer is taken to see everything, as llama.cpp lets it: these are the dimensions of "
    "Mistral-7B-v0.1, and GGUF files of architecture llama leave its window of 4096 tokens out"
)
_EXPANDED = (
    "llama.cpp keeps keys and values of every head for this file, which has no "
    "attention.key_length_mla (a conversion of before April 2025): a new one keeps the latent"
)
_ROTARY = ("rope_freqs.weight", "rope_factors_long.weight", "rope_factors_short.weight")
# llama.cpp's names of what a layer keeps apart from its sublayers (Gemma 3n).
_PER_LAYER_EMBEDDING = ("inp_gate.weight", "proj.weight")
_MIXERS = {"gated_deltanet": "deltanet", "short_conv": "conv"}
_ALTUP = ("altup_correct_coef", "altup_correct_scale", "altup_predict_coef", "altup_router")


def load_gguf(path: str | Path) -> Imported:
    """The model of a GGUF file, or of a split one named by any of its parts.

    Raises SpecError for a file that is wrong, FileError for one that cannot be read, and
    UnsupportedError naming the architecture, key or tensor that kvcalc cannot account for.
    """
    return with_projector(import_header(read_gguf(path)), Path(path))


def import_header(header: GgufHeader) -> Imported:
    """The model that a header describes."""
    architecture = header.values.get("general.architecture")
    if isinstance(architecture, str) and architecture not in ARCHITECTURES:
        from kvcalc.convert.gguf_known import architectures, known_model

        if architecture in architectures():
            found = known_model(header, architecture)
            if found is not None:
                return found
            raise UnsupportedError(
                f"{header.path}: architecture '{architecture}' is known of shipped models only, and "
                f"these tensors are none of theirs. Write the spec by hand: 'kvcalc schema' has the "
                f"language"
            )
    return _Model(header).imported()


class _Model:
    """One header while it is being read."""

    def __init__(self, header: GgufHeader) -> None:
        self.header = header
        self.keys = keys = Keys(header)
        if keys.architecture not in ARCHITECTURES:
            raise UnsupportedError(_unknown(header, keys.architecture))
        self.architecture: Architecture = ARCHITECTURES[keys.architecture]
        self.assumptions: list[str] = []
        self.beside: dict[str, list[StoredTensor]] = {}
        self.hidden_size = keys.number("embedding_length")
        all_layers = keys.number("block_count")
        self.num_layers = all_layers - (keys.maybe("nextn_predict_layers") or 0)
        if self.num_layers < 1:
            keys.wrong("nextn_predict_layers", f"leaves none of {all_layers} layers")
        self.layers, rest = self._places(header.tensors, all_layers)
        self.rest = LayerTensors("", keys, rest)
        self.has_bias: bool | None = None

    def _places(
        self, tensors: tuple[StoredTensor, ...], all_layers: int
    ) -> tuple[list[LayerTensors], dict[str, StoredTensor]]:
        """Each layer's tensors, and what stands beside the layers; extra layers are put aside."""
        layers: list[dict[str, StoredTensor]] = [{} for _ in range(self.num_layers)]
        rest: dict[str, StoredTensor] = {}
        for tensor in tensors:
            match = _LAYER.fullmatch(tensor.name)
            if match is None:
                rest[tensor.name] = tensor
            elif int(match[1]) < self.num_layers:
                layers[int(match[1])][match[2]] = tensor
            elif int(match[1]) < all_layers:
                self._aside("multi-token-prediction layers", tensor)
            else:
                self.keys.refuse(f"{tensor.name} is of a layer that block_count leaves out")
        places = []
        for index, found in enumerate(layers):
            for name in _ROTARY:
                if name in found:
                    self._aside("rotary tables", found.pop(name))
            places.append(LayerTensors(f"blk.{index}.", self.keys, found))
        for name in _ROTARY:
            if name in rest:
                self._aside("rotary tables", rest.pop(name))
        return places, rest

    def _aside(self, what: str, tensor: StoredTensor) -> None:
        self.beside.setdefault(what, []).append(tensor)

    # ------------------------------------------------------------ the stack

    def imported(self) -> Imported:
        """The spec, checked against every tensor, with what had to be assumed."""
        header, keys = self.header, self.keys
        if not keys.flag("attention.causal", True):
            keys.refuse(f"{keys.architecture}.attention.causal is false: an encoder keeps no cache")
        labelled = list(self._blocks())
        blocks, groups = stack(labelled)
        order = [name for group in groups for name in group.names * group.repeat]
        blocks = _name_sources(blocks, order)
        spec = ModelSpec(
            name=model_name(model_stem(header.path)), source=tuple(self._sources()),
            blocks=blocks, layers=groups,
            model_type=self._model_type(), hidden_size=self.hidden_size,
            max_position_embeddings=keys.maybe("context_length", 1), **self._ends(),
        )  # fmt: skip
        for place in (self.rest, *self.layers):
            place.finish()
            for tensor in place.unused:
                self._aside("keys and values that layers sharing a cache hold unused", tensor)
        keys.finish()
        problems = tuple(
            Problem(code, header.path, 0, 0, field, text)
            for code, field, text in unread_findings(spec)
        )
        if problems:
            message = f"{header.path}: {problems[0].field}: {problems[0].message}"
            raise SpecError(message, problems)
        self._compare(spec)
        taken = [pair for place in (self.rest, *self.layers) for pair in place.taken]
        weights = stored_weights(header.path, taken, self.beside)
        if header.is_partial:
            self.assumptions.append(
                f"{header.path} holds {header.present_bytes:,} of {header.total_bytes:,} bytes: "
                f"its header is whole, its tensors are not"
            )
        has_window = bool(keys.maybe("attention.sliding_window"))
        if self.architecture.note and has_window == (self.architecture.window != "none"):
            self.assumptions.append(self.architecture.note)
        if self._may_be_mistral(spec):
            self.assumptions.append(_MISTRAL)
        left_out = tuple(what for what, _ in weights.beside if "rotary" not in what)
        notes = (f"the file's weights take {weights.bytes:,} bytes: {weights.describe()}",)
        spec = with_gguf_formats(
            replace(spec, left_out=left_out, notes=notes), self.rest, self.layers
        )
        return Imported(spec, tuple(self.assumptions), weights)

    def _may_be_mistral(self, spec: ModelSpec) -> bool:
        """Whether the dimensions are Mistral-7B-v0.1's: later ones have another rope.freq_base."""
        first = next(iter(spec.blocks.values())).attention
        base = self.keys.value("rope.freq_base")
        return (
            self.keys.architecture == "llama"
            and (spec.hidden_size, self.num_layers) == (4096, 32)
            and getattr(first, "num_key_value_heads", None) == 8
            and spec.vocab_size < 33_000
            and (base is None or base == 10_000)
            and self.keys.maybe("expert_count") in (None, 0)
        )

    def _blocks(self) -> Iterator[tuple[tuple[str, ...], Block]]:
        """Every layer, with the labels that may tell it from others."""
        keys, architecture, count = self.keys, self.architecture, self.num_layers
        heads = keys.per_layer("attention.head_count", count, [0] * count)
        kv_heads = keys.per_layer("attention.head_count_kv", count, heads)
        used = keys.per_layer("expert_used_count", count, [0] * count)
        window = keys.maybe("attention.sliding_window") or architecture.default_window
        stated = keys.flags("attention.sliding_window_pattern", count)
        if window and architecture.window == "none":
            keys.refuse(
                f"{keys.architecture}.attention.sliding_window is {window}, and which layers of "
                f"{keys.architecture} have a window is not known"
            )
        if architecture.window == "pattern" and not window and architecture.first_shared_kv:
            keys.wrong("attention.sliding_window", "required and missing")
        slides = architecture.slides(count, stated)
        first_shared = self._first_shared()
        for index, layer in enumerate(self.layers):
            local = bool(window) and slides[index]
            mixer = recurrent(layer, self.hidden_size)
            attention = None
            if "attn_output.weight" in layer:
                attention = self._attention(
                    layer, heads[index], kv_heads[index], window if local else None,
                    ("local" if local else "global") if index >= first_shared else None,
                )  # fmt: skip
            ffn = feed_forward(layer, used[index])
            self._per_layer(layer)
            num_sublayers = (attention is not None or mixer is not None) + (ffn is not None)
            if not num_sublayers:
                keys.refuse(f"{layer.where}: it has neither a mixer nor a feed-forward layer")
            count_norms, bias = norms(layer, num_sublayers)
            self._same_norms(bias, layer.where)
            block = Block(
                attention=attention, recurrent=mixer, ffn=ffn, norms=count_norms,
                layer_scalar=layer.has("layer_output_scale.weight", "other"),
            )  # fmt: skip
            reach = "attention"
            if window and any(slides):
                reach = "local" if local else "global"
            yield _labels(block, reach, index >= first_shared), block

    def _first_shared(self) -> int:
        """The first layer that reads an earlier one's K and V; the number of layers for none."""
        shared = self.keys.maybe("attention.shared_kv_layers")
        if self.architecture.first_shared_kv is None:
            if shared:
                self.keys.refuse(f"{shared} layers that share K and V are not known of here")
            return self.num_layers
        if shared is None:
            first = self.architecture.first_shared_kv
            if first < self.num_layers:
                self.assumptions.append(
                    f"layers from {first} on read the K and V of earlier ones: not in the file; "
                    f"as llama.cpp takes {self.keys.architecture} to be"
                )
            return min(first, self.num_layers)
        if shared >= self.num_layers:
            self.keys.wrong("attention.shared_kv_layers", f"{shared} of {self.num_layers} layers")
        return self.num_layers - shared

    def _attention(
        self, layer: LayerTensors, heads: int, kv_heads: int, window: int | None,
        reads_from: str | None,
    ) -> Any:  # fmt: skip
        keys = self.keys
        usual = self.hidden_size // heads if heads and not self.hidden_size % heads else None
        suffix = "_swa" if window else ""
        head_dim = keys.maybe("attention.key_length", 1) or usual
        value_dim = keys.maybe("attention.value_length", 1) or usual
        head_dim = (keys.maybe(f"attention.key_length{suffix}", 1) if suffix else None) or head_dim
        value_dim = (
            keys.maybe(f"attention.value_length{suffix}", 1) if suffix else None
        ) or value_dim
        if head_dim is None or value_dim is None:
            keys.wrong("attention.key_length", "missing, and the heads do not divide the width")
        if "attn_kv_a_mqa.weight" in layer:
            expanded = keys.maybe("attention.key_length_mla", 1) is None
            if expanded and _EXPANDED not in self.assumptions:
                self.assumptions.append(_EXPANDED)
            return mla(
                layer, heads=heads,
                key_dim=keys.maybe("attention.key_length_mla", 1) or head_dim,
                value_dim=keys.maybe("attention.value_length_mla", 1) or value_dim,
                expanded=expanded,
            )  # fmt: skip
        return softmax(
            layer, heads=heads, kv_heads=kv_heads, head_dim=head_dim, v_head_dim=value_dim,
            window=window, gated=self.architecture.gated_attention, reads_from=reads_from,
        )  # fmt: skip

    def _per_layer(self, layer: LayerTensors) -> None:
        """What Gemma 3n has in every layer beside its sublayers."""
        if layer.has(_PER_LAYER_EMBEDDING[0], "other"):
            layer.take(_PER_LAYER_EMBEDDING[1], "other", 2)
            layer.take("post_norm.weight", "norm")
        if "altup_router.weight" in layer:
            for name in _ALTUP:
                layer.take(f"{name}.weight", "other")
            layer.take("altup_router_norm.weight", "norm")
        if "laurel_l.weight" in layer:
            self.laurel_rank = layer.take("laurel_l.weight", "other", 2)[0]
            layer.take("laurel_r.weight", "other", 2)
            layer.take("laurel_post_norm.weight", "norm")

    laurel_rank: int | None = None

    def _same_norms(self, bias: bool | None, where: str) -> None:
        if bias is not None and self.has_bias not in (None, bias):
            self.keys.refuse(f"{where}: its norms have biases, and those of other layers have none")
        self.has_bias = self.has_bias if bias is None else bias

    # ------------------------------------------------------------ what stands beside the layers

    def _ends(self) -> dict[str, Any]:
        """Token table, head, final norm, and what Gemma 3n has once."""
        rest, hidden = self.rest, self.hidden_size
        vocab_size, width = rest.take("token_embd.weight", "embedding", 2)
        if width != hidden:
            self.keys.wrong("embedding_length", f"{hidden}, and the token table is {width} wide")
        fields: dict[str, Any] = {"vocab_size": vocab_size}
        final = "output_norm"
        if "output_norm.weight" not in rest and self.keys.architecture.startswith("lfm2"):
            final = "token_embd_norm"
        embedding_norm = False
        if final != "token_embd_norm" and rest.has("token_embd_norm.weight", "norm"):
            embedding_norm = True
            self._same_norms(rest.has("token_embd_norm.bias", "norm"), "token_embd_norm")
        fields["final_norm"] = rest.has(f"{final}.weight", "norm")
        if fields["final_norm"]:
            self._same_norms(rest.has(f"{final}.bias", "norm"), final)
        positions = rest.maybe("position_embd.weight", "embedding")
        if positions or embedding_norm:
            fields["embedding"] = Embedding(
                positions=positions[0] if positions else None, norm=embedding_norm
            )
        tied = not rest.has("output.weight", "head")
        fields["tie_word_embeddings"] = tied
        fields["head_bias"] = rest.has("output.bias", "head")
        fields["norm"] = self._norm()
        if "per_layer_token_embd.weight" in rest:
            fields |= self._gemma3n()
        return fields

    def _norm(self) -> NormKind:
        if self.has_bias is None:
            return "none"
        if self.has_bias:
            return "layernorm"
        epsilon = f"{self.keys.architecture}.attention.layer_norm_epsilon"
        root_mean_square = f"{self.keys.architecture}.attention.layer_norm_rms_epsilon"
        plain = epsilon in self.header.values and root_mean_square not in self.header.values
        if plain and not self.keys.architecture.startswith("nemotron_h"):
            return "layernorm_no_bias"
        return "rmsnorm"

    def _gemma3n(self) -> dict[str, Any]:
        from kvcalc.stack.altup import AltUp
        from kvcalc.stack.laurel import Laurel
        from kvcalc.stack.per_layer_embeddings import PerLayerEmbeddings

        rest, keys = self.rest, self.keys
        rows, packed = rest.take("per_layer_token_embd.weight", "embedding", 2)
        rest.take("per_layer_model_proj.weight", "other", 2)
        rest.take("per_layer_proj_norm.weight", "norm")
        fields: dict[str, Any] = {
            "per_layer_embeddings": PerLayerEmbeddings(
                vocab_size_per_layer_input=rows,
                hidden_size_per_layer_input=packed // self.num_layers or 1,
            )
        }
        projections = rest.maybe("altup_proj.weight", "other")
        if projections is not None:
            rest.take("altup_unembd_proj.weight", "other", 3)
            fields["altup"] = AltUp(
                altup_num_inputs=projections[0] + 1,
                altup_active_idx=keys.maybe("altup.active_idx") or 0,
            )
        if self.laurel_rank is not None:
            fields["laurel"] = Laurel(laurel_rank=self.laurel_rank)
        return fields

    def _model_type(self) -> str:
        architecture = self.architecture
        names = {tensor.name for place in self.layers for tensor, _ in place.taken}
        has_experts = any(name.endswith("exps.weight") for name in names)
        if has_experts and architecture.with_experts:
            return architecture.with_experts
        if self.keys.architecture == "deepseek2":
            corrected = any("exp_probs_b" in name for name in names)
            return "deepseek_v3" if corrected else "deepseek_v2"
        if self.keys.architecture == "olmo2" and self.keys.maybe("attention.sliding_window"):
            return "olmo3"
        if self.keys.architecture == "mamba" and self.keys.flag("ssm.dt_b_c_rms"):
            return "falcon_mamba"
        return architecture.model_type

    def _sources(self) -> Iterator[str]:
        yield self.header.path
        for key in ("general.source.url", "general.source.repo_url", "general.repo_url",
                    "general.base_model.0.repo_url", "general.url"):  # fmt: skip
            value = self.header.values.get(key)
            if isinstance(value, str) and value.startswith("https://"):
                yield value
                return

    # ------------------------------------------------------------ exact or refused

    def _compare(self, spec: ModelSpec) -> None:
        """Hold the inventory of the spec to the elements of the file's tensors."""
        ours: dict[int, dict[Component, int]] = {index: {} for index in range(self.num_layers)}
        beside: dict[Component, int] = {}
        for group in parameter_groups(spec):
            counts = _elements(group.tensors)
            for index in group.layers:
                _add(ours[index], counts)
            if not group.layers:
                _add(beside, counts)
        self._equal("beside the layers", self.rest.elements(), beside)
        for index, layer in enumerate(self.layers):
            self._equal(f"layer {index}", layer.elements(), ours[index])

    def _equal(self, where: str, file: dict[Component, int], ours: dict[Component, int]) -> None:
        for component in sorted({*file, *ours}):
            found, made = file.get(component, 0), ours.get(component, 0)
            if found != made:
                self.keys.refuse(
                    f"{where}: the tensors of its {component} hold {found:,} elements, and the "
                    f"keys of a {self.keys.architecture} file make them {made:,}"
                )


def _labels(block: Block, reach: str, shared: bool) -> tuple[str, ...]:
    """What tells a layer from others. reach: local, global, or attention where all are alike."""
    mixer = reach if block.attention is not None else ""
    if block.recurrent is not None:
        mixer = _MIXERS.get(block.recurrent.kind, "mamba")
    ffn = ""
    if block.ffn is not None:
        ffn = "moe" if block.ffn.kind == "moe" else "dense" if mixer else "mlp"
    return mixer, ffn, "shared" if shared else ""


def _elements(tensors: tuple[ParamTensor, ...]) -> dict[Component, int]:
    counts: dict[Component, int] = {}
    for tensor in tensors:
        counts[tensor.component] = counts.get(tensor.component, 0) + tensor.numel
    return counts


def _add(total: dict[Component, int], counts: dict[Component, int]) -> None:
    for component, count in counts.items():
        total[component] = total.get(component, 0) + count


def _name_sources(blocks: dict[str, Block], order: list[str]) -> dict[str, Block]:
    """Point every layer that shares a cache at the block whose latest layer it reads."""

    def reach(block: Block) -> str:
        return "local" if block.sliding_window else "global"

    owner: dict[str, str] = {}
    for name in order:
        attention = blocks[name].attention
        if attention is not None and getattr(attention, "shared_kv", None) is None:
            owner[reach(blocks[name])] = name
    named = {}
    for name, block in blocks.items():
        shared: Any = block.attention
        if getattr(shared, "shared_kv", None) is not None:
            source = owner.get(reach(block), shared.shared_kv)
            block = replace(block, attention=replace(shared, shared_kv=source))
        named[name] = block
    return named


def _unknown(header: GgufHeader, architecture: str) -> str:
    path = header.path
    if architecture == "clip":
        return said_of_projector(header)
    near = hint(architecture, ARCHITECTURES)
    said = f" ({near})" if near else ""
    return (
        f"{path}: architecture '{architecture}' is not accounted for{said}. Write the spec by hand: "
        f"'kvcalc schema' has the language"
    )
