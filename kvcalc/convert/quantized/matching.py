"""Lists of module names, matched as the method that wrote them matches them.

Which entry matched something is remembered: one that matches nothing that exists is a module kvcalc
does not know, and its bytes would be guessed.
"""

import re
from collections.abc import Iterable, Sequence
from fnmatch import translate
from typing import Literal

from kvcalc.convert.quantized.modules import PREFIXES, Module, bare

# transformers: a prefix up to a dot, a regular expression from the start, or a suffix
# (quantizers_utils.should_convert_module, 5.23). compressed: the whole name, or ``re:`` and an
# expression from the start (compressed_tensors.utils.match_name, 0.20). glob: fnmatch of the name or
# of what lies in it (ModelOpt, Quark). part: anywhere in the name (AutoAWQ).
How = Literal["transformers", "compressed", "glob", "part"]

_SPECIAL = re.compile(r"[*+?\[\](){}^$|\\]")
_LAYER = re.compile(r"(?:^|\.)(?:layers|layer|h|blocks|block)(?:\.|\\\.)(\d+)(?=\.|\\|\*|$)")
# A layer that an expression names exactly: with an escaped dot after it, or in a plain name or glob.
_ESCAPED_LAYER = re.compile(r"layers(?:\.|\\\.)(\d{1,5})\\\.")
_PLAIN_LAYER = re.compile(r"layers\.(\d{1,5})\.")
_EXPERT = re.compile(r"experts\.(\d{1,5})(?=\.|$)")
# What quantisers list and kvcalc's inventory holds in no format of its own. Parts of a path, each a
# whole one: other towers and layers that predict further tokens, wherever they stand ...
_TOWER = re.compile(
    r"(multi_modal|mm|img|image|vision|visual|audio|speech|video|sound|vit|siglip|clip|vq)[a-z0-9_]*"
    r"|[a-z0-9_]*(projector|resampler|tower|encoder|merger|aligner|connector|talker|token2wav|code2wav)"
    r"|embed_(vision|audio|image|speech)|mtp[a-z0-9_]*|nextn[a-z0-9_]*|mlp1|eh_proj|shared_head|patch_[a-z0-9_]*|time_embed\w*"
)
# ... and at the end: norms, tables, heads, routers, convolutions, positions, numbers a head, scales.
_LEAF = re.compile(
    r"lm_head|embed_out|output_layer|word_embeddings|[a-z0-9_]*embed|embed_[a-z0-9_]*|wte|wpe|tok_embeddings"
    r"|[a-z0-9_]*(norm|layernorm)[0-9]?|ln_[a-z0-9]+|router|gate|gate_proj_router|e_score_correction_bias"
    r"|score|classifier|[a-z0-9_]*head|pooler|conv[a-z0-9_]*|rotary_emb|rope|A_log|D|dt_[a-z_]+|bias|sinks"
    r"|indexers_proj|kv_cache|[a-z0-9_]*(k|v|q)_scale|[a-z]*embeddings?"
)


class Entries:
    """A list of names. ``match`` says whether one of a module's paths is on it."""

    def __init__(self, entries: Iterable[str], how: How) -> None:
        self.how = how
        self.unmatched = dict.fromkeys(entries)
        self._exact: dict[str, str] = {}
        self._suffixes: list[str] = []
        # By the layer that an expression names, None for any.
        self._patterns: dict[int | None, list[tuple[str, re.Pattern[str]]]] = {}
        # Experts listed one by one: their path with * -> their numbers.
        self._experts: dict[str, dict[int, str]] = {}
        for entry in self.unmatched:
            self._add(entry)

    def _add(self, entry: str) -> None:
        if entry.startswith("re:"):
            self._expression(entry, _compiled(entry.removeprefix("re:")), _ESCAPED_LAYER)
        elif self.how == "glob" and re.search(r"[*?\[]", entry):
            self._expression(entry, re.compile(translate(entry)), _PLAIN_LAYER)
        elif self.how == "transformers" and _SPECIAL.search(entry):
            pattern = rf"(?:{entry})(?:(?<=\.)|(?=\.|$))"
            self._expression(entry, _compiled(pattern, entry), _ESCAPED_LAYER)
            self._exact[bare(entry)] = entry
        elif "layers." in entry and (one := _EXPERT.search(entry)):
            path = bare(f"{entry[: one.start(1)]}*{entry[one.end(1) :]}")
            self._experts.setdefault(path, {})[int(one[1])] = entry
        else:
            self._exact[bare(entry)] = entry
            if self.how in ("transformers", "part") and "layers." not in entry:
                self._suffixes.append(entry)

    def _expression(self, entry: str, pattern: re.Pattern[str], layer: re.Pattern[str]) -> None:
        named = layer.search(entry)
        self._patterns.setdefault(int(named[1]) if named else None, []).append((entry, pattern))

    @property
    def num_expressions(self) -> int:
        """Expressions that every module is held to."""
        return len(self._patterns.get(None, ()))

    def match(self, module: Module) -> bool:
        """Whether a path is on the list; experts that are modules are listed together or not."""
        # Every path is asked: an entry about one of them is known all the same.
        return any([self._path(name, module) for name in module.names])

    def _path(self, path: str, module: Module) -> bool:
        if "*" not in path:
            return self._one(path)
        count = module.tensor.shape[0]
        listed = self._experts.get(path) or self._experts.get(path.partition("*")[0] + "*")
        if listed is not None:
            if not listed.keys() >= {*range(count)}:
                return False
            for entry in listed.values():
                self.unmatched.pop(entry, None)
            return True
        return all([self._one(path.replace("*", str(index))) for index in {0, count - 1}])

    def _one(self, name: str) -> bool:
        found = self._found(name)
        if found is None:
            return False
        self.unmatched.pop(found, None)
        return True

    def _found(self, name: str) -> str | None:
        if one := _EXPERT.search(name):
            path = f"{name[: one.start(1)]}*{name[one.end(1) :]}"
            if (own := self._experts.get(path, {}).get(int(one[1]))) is not None:
                return own
        if name in self._exact:
            return self._exact[name]
        if self.how != "compressed":
            parent = name
            while "." in parent:
                parent = parent.rpartition(".")[0]
                if parent in self._exact:
                    return self._exact[parent]
        for entry in self._suffixes:
            if name.endswith(entry) or (self.how == "part" and entry in name):
                return entry
        layer = _PLAIN_LAYER.search(name)
        tried: list[tuple[str, re.Pattern[str]]] = [*self._patterns.get(None, ())]
        if layer is not None:
            tried += self._patterns.get(int(layer[1]), [])
        for entry, pattern in tried:
            for full in _written(name, self.how):
                if pattern.match(full):
                    return entry
        return None

    def strangers(self, num_layers: int, modules: Sequence[Module]) -> list[str]:
        """Entries that match nothing: not a layer beyond the model's, not known to be harmless."""
        known = _Known({name for module in modules for name in module.names})
        found = []
        for entry in self.unmatched:
            layer = _LAYER.search(entry)
            beyond = layer is not None and int(layer[1]) >= num_layers
            if not beyond and not known.harmless(entry):
                found.append(entry)
        return found


class _Known:
    """What an entry that matches no module may be about."""

    def __init__(self, names: set[str]) -> None:
        self.pairs = {tuple(name.split(".")[-2:]) for name in names}
        self.leaves = {pair[-1] for pair in self.pairs}
        # compressed-tensors compares whole names: a module that others stand in is matched by nothing.
        # Elsewhere such a module is one of layers that do not have it.
        inner = {part for name in names for part in name.split(".")[:-1]}
        self.parents = {
            part for part in inner if not part.isdigit() and part not in ("layers", "*")
        }

    def harmless(self, entry: str) -> bool:
        """Whether an entry is of another tower, of no format of its own, or of this model's names."""
        plain = re.sub(r"\\([._])", r"\1", entry.removeprefix("re:"))
        parts = [part for part in re.split(r"[./]", plain.strip("^$*.+ ")) if part not in ("", "*")]
        words = [re.sub(r"[^A-Za-z0-9_]", "", part) for part in parts]
        words = [word for word in words if word and word != "weight"]
        if not words:
            return False
        if any(_TOWER.fullmatch(word) for word in words) or _LEAF.fullmatch(words[-1]):
            return True
        alone = len(words) == 1 and words[0] in self.leaves
        of_model = tuple(words[-2:]) in self.pairs and "expert" not in entry
        return of_model or words[-1] in self.parents or (alone and "expert" not in entry)


def _written(name: str, how: How) -> Iterable[str]:
    """The name as lists spell it, with what may stand before it."""
    beside = "." not in name or name.startswith("lm_head")
    for prefix in ("", "language_model.") if beside else PREFIXES:
        yield prefix + name
        if how == "glob":
            yield f"{prefix}{name}.weight"


# A repeat of something that repeats can take for ever on a name of a hundred letters.
_NESTED = re.compile(r"[+*}]\)[+*{]|\([^)]*[+*][^)]*\)[+*{]")
MAX_PATTERN = 2_000


def expression(text: str) -> re.Pattern[str] | None:
    """A regular expression of a config; None for what is none, or could repeat for ever."""
    if len(text) > MAX_PATTERN or _NESTED.search(text):
        return None
    try:
        return re.compile(text)
    except re.error:
        return None


def _compiled(pattern: str, entry: str = "") -> re.Pattern[str]:
    return expression(pattern) or re.compile(re.escape(entry or pattern))
