"""kvcalc: exact KV-cache, attention and parameter memory of transformer models.

>>> import kvcalc
>>> kvcalc.estimate("llama-3-8b", context_tokens="8k").cache.bytes
1073741824

Get a model: ``load`` finds one by shipped name, hub id or path, ``shipped`` lists the names,
``models`` filters and sorts the shipped ones by attention, size, context, age;
``load_spec_text`` reads YAML, ``spec_from_config`` the values of a Hugging Face config; ``dump`` writes
YAML; ``with_attention`` makes the same model with another attention.

Ask it (a model is a spec, a name or a path): ``estimate`` answers for one workload, ``grid`` for
every combination of models (each a ``Variant``), contexts, batches and cache formats;
``cache_function`` compiles a model's cache to a function of tokens; ``explain`` gives the equations
as text. ``fit`` says whether a workload fits an accelerator, which of all it fits (``gpus="all"``) and
whether several models do at once (``together=True``), ``which`` which of several models do and in which
format, ``capacity`` what a serving engine allocates, ``loaded`` what its classes make of the
weights, ``traffic`` what requests of many lengths hold, ``sessions`` what they cost in RAM and on disk
when they have ended, ``read_log`` why an engine's log says what it says; ``check`` and ``diff`` are the
commands.
An answer has ``to_dict()`` (the object of ``--format json``), ``rows()`` for a data frame, and shows
itself in a notebook.

Every error that a user can cause is a ``KvcalcError``, which prints its ``problems``. Bytes are integers.
"""

__version__ = "0.2.0"
__all__ = [
    "AllEngines", "CacheDtypes", "CacheFunction", "CapacityResult", "Choices", "Diff", "EngineEstimate",
    "Estimate", "Everywhere", "FileError", "Fit", "Imported", "KvcalcError", "Layout", "Lengths",
    "LocalFiles", "LocalFit", "LogAnswer", "MissingExtraError", "ModelSpec",
    "NotFoundError", "Problem", "Report", "Row", "SpecError", "Tiers", "Together", "Traffic",
    "TrafficAnswer", "UnsupportedError", "UsageError", "Variant", "Workload", "__version__",
    "cache_function", "capacity", "check", "diff", "dump", "estimate", "explain", "fit", "grid", "load",
    "load_spec_text", "loaded", "models", "read_log", "sessions", "shipped", "spec_from_config", "traffic",
    "which", "with_attention",
]  # fmt: skip

TYPE_CHECKING = False  # typing's own would be the slowest part of `import kvcalc`
if TYPE_CHECKING:
    from kvcalc.api import cache_function, estimate, explain, with_attention
    from kvcalc.api.fitting import fit, which
    from kvcalc.api.listing import models
    from kvcalc.api.loading import loaded
    from kvcalc.api.logs import read_log
    from kvcalc.api.serving import capacity, sessions, traffic
    from kvcalc.api.specs import check, diff, grid
    from kvcalc.checks.diff import Diff
    from kvcalc.checks.run import Report
    from kvcalc.convert.hf import spec_from_config
    from kvcalc.convert.imported import Imported
    from kvcalc.convert.locate import load
    from kvcalc.deployment.answer import Fit
    from kvcalc.deployment.choice import Choices
    from kvcalc.deployment.estimation import AllEngines, EngineEstimate
    from kvcalc.deployment.everywhere import Everywhere
    from kvcalc.deployment.together import Together
    from kvcalc.dtypes import CacheDtypes
    from kvcalc.engines.llama_cpp.files import LocalFiles
    from kvcalc.engines.llama_cpp.local import LocalFit
    from kvcalc.engines.result import CapacityResult
    from kvcalc.engines.traffic import TrafficAnswer
    from kvcalc.errors import (
        FileError,
        KvcalcError,
        MissingExtraError,
        NotFoundError,
        Problem,
        SpecError,
        UnsupportedError,
        UsageError,
    )
    from kvcalc.logs.answer import LogAnswer
    from kvcalc.memory.cache import CacheFunction
    from kvcalc.memory.estimate import Estimate
    from kvcalc.memory.grid import Row, Variant
    from kvcalc.memory.layout import Layout
    from kvcalc.memory.lengths import Lengths
    from kvcalc.memory.traffic import Traffic
    from kvcalc.memory.workload import Workload
    from kvcalc.spec.catalog import shipped
    from kvcalc.spec.dump import dump
    from kvcalc.spec.loader import load_spec_text
    from kvcalc.spec.model import ModelSpec
    from kvcalc.tiers.answer import Tiers
else:
    # Imported when first asked for, so that `import kvcalc` and the command line start fast.
    _HOMES = {
        "kvcalc.api": ("cache_function", "estimate", "explain", "with_attention"),
        "kvcalc.api.fitting": ("fit", "which"),
        "kvcalc.api.listing": ("models",),
        "kvcalc.api.loading": ("loaded",),
        "kvcalc.api.logs": ("read_log",),
        "kvcalc.api.serving": ("capacity", "sessions", "traffic"),
        "kvcalc.api.specs": ("check", "diff", "grid"),
        "kvcalc.checks.diff": ("Diff",),
        "kvcalc.checks.run": ("Report",),
        "kvcalc.engines.traffic": ("TrafficAnswer",),
        "kvcalc.convert.hf": ("Imported", "spec_from_config"),
        "kvcalc.convert.locate": ("load",),
        "kvcalc.dtypes": ("CacheDtypes",),
        "kvcalc.errors": (
            "FileError", "KvcalcError", "MissingExtraError", "NotFoundError", "Problem",
            "SpecError", "UnsupportedError", "UsageError",
        ),
        "kvcalc.deployment.answer": ("Fit",),
        "kvcalc.deployment.choice": ("Choices",),
        "kvcalc.deployment.estimation": ("AllEngines", "EngineEstimate"),
        "kvcalc.deployment.everywhere": ("Everywhere",),
        "kvcalc.deployment.together": ("Together",),
        "kvcalc.engines.llama_cpp.files": ("LocalFiles",),
        "kvcalc.engines.llama_cpp.local": ("LocalFit",),
        "kvcalc.engines.result": ("CapacityResult",),
        "kvcalc.logs.answer": ("LogAnswer",),
        "kvcalc.memory.cache": ("CacheFunction",),
        "kvcalc.memory.estimate": ("Estimate",),
        "kvcalc.memory.grid": ("Row", "Variant"),
        "kvcalc.memory.layout": ("Layout",),
        "kvcalc.memory.lengths": ("Lengths",),
        "kvcalc.memory.traffic": ("Traffic",),
        "kvcalc.memory.workload": ("Workload",),
        "kvcalc.spec.catalog": ("shipped",),
        "kvcalc.spec.dump": ("dump",),
        "kvcalc.spec.loader": ("load_spec_text",),
        "kvcalc.spec.model": ("ModelSpec",),
        "kvcalc.tiers.answer": ("Tiers",),
    }  # fmt: skip

    def __getattr__(name: str) -> object:
        from importlib import import_module

        for home, names in _HOMES.items():
            if name in names:
                return globals().setdefault(name, getattr(import_module(home), name))
        raise AttributeError(f"module 'kvcalc' has no attribute '{name}'")

    def __dir__() -> list[str]:
        return __all__
