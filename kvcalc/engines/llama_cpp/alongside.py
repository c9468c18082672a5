"""What llama-server loads beside the model: the projector's file, and a draft.

* The projector (--mmproj) lies whole on the first device, or in RAM where there is none (tools/mtmd/
  clip.cpp, mtmd_context_params.use_gpu). The graph that sees an image has a compute buffer of its own,
  which is not predicted. Evidence: 887.99 MiB of a Qwen3.x 27B's in BF16, 248.10 MiB of compute beside it.
* The draft (-md) is a model with a context of its own: the model's cells, slots, micro-batch and device,
  all its layers there, caches in F16 whatever the model's have, unless -ctkd and -ctvd say otherwise, one
  row of states (common/speculative.cpp, common_base_params_to_speculative,
  common_speculative_init_result). Up to 128 words of the vocabularies may differ
  (SPEC_VOCAB_MAX_SIZE_DIFFERENCE).
* The file's own layers that predict further tokens (--spec-type draft-mtp; else they are skipped) lie
  behind the model's and count as layers (llama_model_base::load_tensors, n_layer_all); their context has a
  cache in F16 beside its layer (common_init_from_params, load_mtp; src/models/*.cpp, graph_mtp).

Source: llama.cpp v0.5.0, the files named.
"""

from kvcalc.engines.llama_cpp.compute import Band
from kvcalc.engines.llama_cpp.file import is_gguf
from kvcalc.engines.llama_cpp.flags import LlamaCppFlags
from kvcalc.errors import UnsupportedError, UsageError
from kvcalc.frozen import changed, frozen
from kvcalc.memory.asked_beside import Draft
from kvcalc.spec.model import ModelSpec

_WORDS = 128
# common.h, common_params_speculative_draft: n_max.
DRAFT_TOKENS = 3


@frozen(kw_only=True)
class Alongside:
    """What was asked for. projector_bytes: of its tensors; 0 for none."""

    projector_bytes: int = 0
    draft: Draft | None = None


ALONE = Alongside()


@frozen(kw_only=True)
class Beside:
    """One of them on one device, or in RAM, with the buffers that the model has there, too."""

    name: str
    model_bytes: int
    cache_bytes: int = 0
    output_bytes: int = 0
    compute: Band = Band(0, 0)

    def taken(self, most: bool) -> int:
        """At one end of the band; at the lower one where there is no upper."""
        high = self.compute.most
        compute = high if most and high is not None else self.compute.least
        return self.model_bytes + self.cache_bytes + self.output_bytes + compute


def check_draft(spec: ModelSpec, draft: ModelSpec) -> None:
    """Raise UnsupportedError for a model that does not draft for this one here."""
    said = f"--draft {draft.name}"
    if draft.draft is not None:
        raise UnsupportedError(
            f"{said}: how llama.cpp places a draft of kind {draft.draft.kind} is not accounted for"
        )
    if abs(spec.vocab_size - draft.vocab_size) > _WORDS:
        raise UnsupportedError(
            f"{said}: vocab_size: {draft.vocab_size}, and {spec.name} has {spec.vocab_size}: llama.cpp "
            f"takes drafts whose vocabularies differ by up to {_WORDS}"
        )


def draft_type(draft: ModelSpec, dtype: str) -> str:
    """The type of the draft's weights: its file's, or the model's. Raises UsageError for neither."""
    if is_gguf(draft):
        return "checkpoint"
    if dtype == "checkpoint":
        raise UsageError(
            f"--draft {draft.name}: the model is a file, and of the draft no types are known: name its "
            ".gguf file, too"
        )
    return dtype


def draft_flags(flags: LlamaCppFlags) -> LlamaCppFlags:
    """The model's flags as the draft's context has them."""
    return changed(
        flags, cache_type_k=flags.cache_type_k_draft, cache_type_v=flags.cache_type_v_draft,
        cache_type_k_draft=None, cache_type_v_draft=None, speculative_tokens=None, mtp_layers=None,
        n_gpu_layers=None, n_cpu_moe=None, cpu_moe=None, override_tensor=None,
    )  # fmt: skip


def with_draft(flags: LlamaCppFlags) -> LlamaCppFlags:
    """The model's own flags: its states have a row for each token that may be taken back."""
    if flags.speculative_tokens is not None:
        return flags
    return changed(flags, speculative_tokens=DRAFT_TOKENS)
