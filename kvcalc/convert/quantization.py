"""quantization_config and dtype -> the number formats of the checkpoint's matrices."""

from collections.abc import Mapping
from typing import Any

from kvcalc.convert.config import Config
from kvcalc.spec.model import ModelSpec, WeightPart


def weight_dtypes(
    values: Mapping[str, Any], config: Config, spec: ModelSpec
) -> dict[WeightPart, str]:
    """The checkpoint's formats by component; empty where the config does not say."""
    return {}
