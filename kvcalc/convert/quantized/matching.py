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
# What quantisers list and kvcalc's inventory holds in no format of its own: other towers, layers that
# predict further tokens, norms, tables, convolutions, routers, positions.
HARMLESS = re.compile(
    r"lm_head|embed|wte|wpe|norm|ln_|router|(^|[.*_])gate($|[^_])|e_score|score|visual|vision|audio"
    r"|mtp|multi_modal|projector|nextn|eh_proj|bias|classifier|conv|rotary|rope|A_log|dt_|(^|\.)D$"
    r"|indexers_proj|shared_head|img|image|patch|sinks|merger|aligner|tower|connector|head|pooler"
    r"|resampler|speech|talker|code2wav|token2wav|time_embed|kv_cache|k_scale|v_scale"
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
        leaves = {name.rpartition(".")[2] for module in modules for name in module.names}
        found = []
        for entry in self.unmatched:
            layer = _LAYER.search(entry)
            if layer is not None and int(layer[1]) >= num_layers:
                continue
            leaf = re.split(r"[.\\/]", entry.rstrip("*.$ "))[-1]
            own = leaf in leaves and "expert" not in entry
            if HARMLESS.search(entry.removeprefix("re:")) or own:
                continue
            found.append(entry)
        return found


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


def _compiled(pattern: str, entry: str = "") -> re.Pattern[str]:
    if len(pattern) > MAX_PATTERN or _NESTED.search(pattern):
        return re.compile(re.escape(entry or pattern))
    try:
        return re.compile(pattern)
    except re.error:
        return re.compile(re.escape(entry or pattern))
