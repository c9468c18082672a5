"""Which models onnxruntime-genai's builder exported and its runtime ran here, release 0.18.0."""

from kvcalc.errors import UnsupportedError
from kvcalc.spec.model import ModelSpec

RELEASE = "0.18.0"
# Types whose small random models were exported and run, on a CPU.
RUNS = frozenset((
    "ernie4_5", "gemma2", "gpt_oss", "granite", "llama", "mistral", "olmo", "phi3", "qwen2",
    "qwen3",
))  # fmt: skip


def check_model(spec: ModelSpec, version: str | None) -> None:
    """Raises UnsupportedError, by name, for a model that was not run and a release that was not."""
    if version is not None and version.removeprefix("v") != RELEASE:
        raise UnsupportedError(
            f"onnxruntime-genai {version}: its buffers are accounted for in {RELEASE}"
        )
    if spec.model_type not in RUNS:
        raise UnsupportedError(
            f"{spec.name}: no model of model_type '{spec.model_type}' was exported and run with "
            f"onnxruntime-genai {RELEASE} here"
        )
