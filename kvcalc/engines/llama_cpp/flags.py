"""llama.cpp's flags, under their long names."""

from dataclasses import dataclass
from typing import Annotated

from kvcalc.dtypes import canonical
from kvcalc.engines import flags as words
from kvcalc.engines.flags import Flag, number, switch, text, tokens
from kvcalc.engines.llama_cpp.placing import Placing, layers_of, one_device, overrides_of, shares_of
from kvcalc.engines.llama_cpp.versions import VERSION
from kvcalc.engines.request import CapacityRequest
from kvcalc.errors import UsageError

# The most sequences of a context (llama-cparams.h, LLAMA_MAX_SEQ).
MAX_SLOTS = 256

# common/arg.cpp, kv_cache_types.
CACHE_TYPES = ("fp32", "fp16", "bf16", "q8_0", "q4_0", "q4_1", "iq4_nl", "q5_0", "q5_1")


def _draft_type(letter: str) -> Flag:
    help = f"Format of {letter} of a draft, or of MTP layers (llama.cpp)."
    low = letter.lower()
    also = (f"--spec-draft-type-{low}", f"-ct{low}d")
    return Flag(help=help, kind="format", default="fp16", values=CACHE_TYPES, also=also)


def check_slots(sequences: int, option: str) -> None:
    """Raises UsageError for more sequences than a context has."""
    if sequences > MAX_SLOTS:
        raise UsageError(
            f"{option} {sequences}: llama.cpp runs at most {MAX_SLOTS} sequences at once (LLAMA_MAX_SEQ)"
        )


def _type(letter: str) -> Flag:
    help = f"Format of {letter} (llama.cpp)."
    short = f"-ct{letter.lower()}"
    return Flag(help=help, kind="format", default="fp16", values=CACHE_TYPES, also=(short,))


def cache_types(kv_dtype: str) -> tuple[str, str]:
    """``--kv-dtype K:V`` as the types of K and V. Raises UsageError for one that no cache here has."""
    key, colon, value = kv_dtype.partition(":")
    found = (key, value if colon else key)
    for each in found:
        try:
            canonical(each, CACHE_TYPES)
        except ValueError as error:
            raise UsageError(f"--kv-dtype {kv_dtype}: in llama.cpp {error}") from None
    return found


@dataclass(frozen=True, kw_only=True)
class LlamaCppFlags(CapacityRequest):
    """``llama-server``. Beside the long names, the other spellings of common/arg.cpp."""

    ctx_size: Annotated[int | None, tokens("Cells in all (llama.cpp).", also=("-c",))] = None
    parallel: Annotated[int | None, number("Slots (llama.cpp).", also=("-np",))] = None
    ubatch: Annotated[
        int | None, number("Physical batch (llama.cpp).", also=("--ubatch-size", "-ub"))
    ] = None
    cache_type_k: Annotated[str | None, _type("K")] = None
    cache_type_v: Annotated[str | None, _type("V")] = None
    cache_type_k_draft: Annotated[str | None, _draft_type("K")] = None
    cache_type_v_draft: Annotated[str | None, _draft_type("V")] = None
    kv_unified: Annotated[
        bool | None, switch("One stream (llama.cpp).", also=("-kvu/-no-kvu",))
    ] = None
    swa_full: Annotated[bool | None, switch("Whole windows (llama.cpp).")] = None
    speculative_tokens: words.SpeculativeTokens = None
    mtp_layers: words.MtpLayers = None
    flash_attn: Annotated[
        str | None, text("Flash attention: on, off, auto (llama.cpp).", "auto", also=("-fa",))
    ] = None
    n_gpu_layers: Annotated[
        str | None,
        text(
            "Layers on devices, the output counted: 99, all or auto (llama.cpp).",
            "most that fit",
            also=("--gpu-layers", "-ngl"),
        ),
    ] = None
    n_cpu_moe: Annotated[
        int | None,
        number("Layers whose experts stay in RAM (llama.cpp).", least=0, also=("-ncmoe",)),
    ] = None
    cpu_moe: Annotated[bool | None, switch("All experts in RAM (llama.cpp).", also=("-cmoe",))] = (
        None
    )
    override_tensor: Annotated[
        str | None,
        text("PATTERN=BUFFER,...: tensors that lie elsewhere (llama.cpp).", also=("-ot",)),
    ] = None
    tensor_split: Annotated[
        str | None, text("Shares of the devices: 3,1 (llama.cpp).", "free memory", also=("-ts",))
    ] = None
    split_mode: Annotated[
        str | None, text("layer or none (llama.cpp).", "layer", also=("-sm",))
    ] = None
    main_gpu: Annotated[
        int | None,
        number("The device with --split-mode none (llama.cpp).", least=0, also=("-mg",)),
    ] = None
    kv_offload: Annotated[
        bool | None, switch("Caches beside their layers (llama.cpp).", also=("-kvo/-nkvo",))
    ] = None

    def placing(self) -> Placing:
        """What lies where, as far as the flags say it. Raises UsageError for what llama.cpp refuses."""
        return Placing(
            num_gpu_layers=layers_of(self.n_gpu_layers),
            num_cpu_moe=None if self.cpu_moe else self.n_cpu_moe or 0,
            overrides=overrides_of(self.override_tensor),
            shares=shares_of(self.tensor_split),
            one=one_device(self.split_mode, self.main_gpu),
            offload_cache=self.kv_offload is not False,
        )

    def check(self) -> None:
        """Raises UsageError for words that no flag takes."""
        self.placing()
        if self.engine_version not in (None, VERSION, VERSION.removeprefix("v")):
            raise UsageError(
                f"--engine-version {self.engine_version}: the rules of llama.cpp here are those of "
                f"{VERSION}"
            )
        check_slots(self.parallel or 1, "--parallel")
        if self.flash_attn not in (None, "on", "off", "auto"):
            raise UsageError(f"--flash-attn {self.flash_attn}: choose from on, off, auto")

    def check_draft_types(self, drafted: bool) -> None:
        """Raises UsageError for types of a draft where nothing drafts. drafted: a model does."""
        if drafted or self.mtp_layers:
            return
        for letter, word in (("k", self.cache_type_k_draft), ("v", self.cache_type_v_draft)):
            if word is not None:
                raise UsageError(
                    f"--cache-type-{letter}-draft {word}: nothing drafts: give --draft or --mtp-layers, or "
                    "leave it out"
                )
