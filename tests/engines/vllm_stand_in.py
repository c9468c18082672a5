"""vLLM's own model classes on the meta device, without a GPU and without its compiled kernels.

``build(config, tp)`` makes the module that one tensor rank of a server would make, tensors and
buffers without storage. What stands in: a CUDA platform that reports a compute capability; the
groups of ranks, by their sizes; compiled extensions and packages that only running needs.
``process_weights_after_loading`` is not run: tensors are as they are when the loader fills them.

Run it with the packages that vLLM's imports ask for: its wheel unpacked (``pip download --no-deps
vllm==0.33.0``), transformers 5.20.0, compressed-tensors 0.17.0, torch for the CPU.
"""

import importlib.abc
import importlib.machinery
import json
import os
import sys
import tempfile
import types
from pathlib import Path
from typing import Any
from unittest.mock import MagicMock

os.environ.update(VLLM_LOGGING_LEVEL="ERROR", HF_HUB_OFFLINE="1", VLLM_NO_USAGE_STATS="1")

_MISSING = {
    "vllm._C", "vllm._C_stable_libtorch", "vllm._moe_C", "vllm._moe_C_stable_libtorch",
    "vllm._qutlass_C", "vllm.vllm_flash_attn", "vllm._flashmla_C", "vllm._flashmla_extension_C",
    "vllm.third_party.flashmla", "torchvision", "torchaudio", "cv2", "llguidance", "xgrammar", "timm",
    "terratorch", "loguru", "uvloop", "cutlass", "cuda", "tilelang", "tvm_ffi", "quack",
}  # fmt: skip
NAMES = {8: "NVIDIA A100-SXM4-80GB", 9: "NVIDIA H100 80GB HBM3", 10: "NVIDIA B200",
         12: "NVIDIA RTX PRO 6000"}  # fmt: skip
# model types without an AutoModelForCausalLM class, and those that transformers 5.20 has not.
ARCHITECTURES = {
    "whisper": "WhisperForConditionalGeneration", "deepseek_v32": "DeepseekV32ForCausalLM",
    "kimi_k2": "DeepseekV3ForCausalLM", "kimi_linear": "KimiLinearForCausalLM",
    "minicpm3": "MiniCPM3ForCausalLM", "mimo_v2_flash": "MiMoV2FlashForCausalLM",
    "deepseek_v4": "DeepseekV4ForCausalLM", "llama4_text": "Llama4ForCausalLM",
    "llama4": "Llama4ForConditionalGeneration", "step3p5": "Step3p5ForCausalLM",
    "internlm2": "InternLM2ForCausalLM", "minimax_m2": "MiniMaxM2ForCausalLM",
    "longcat_flash": "LongcatFlashForCausalLM", "bailing_moe": "BailingMoeForCausalLM",
    "gemma3": "Gemma3ForConditionalGeneration", "exaone": "ExaoneForCausalLM",
    "minicpm": "MiniCPMForCausalLM", "kimi_vl": "KimiVLForConditionalGeneration",
    "internlm3": "InternLM3ForCausalLM", "mimo": "MiMoForCausalLM", "laguna": "LagunaForCausalLM",
    "chatglm": "ChatGLMModel", "bailing_moe_v2": "BailingMoeV2ForCausalLM",
}  # fmt: skip


class _Standing(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Modules that hold whatever is asked of them."""

    def find_spec(self, name: str, path: Any, target: Any = None) -> Any:
        if name in _MISSING or name.split(".")[0] in _MISSING:
            return importlib.machinery.ModuleSpec(name, self, is_package=True)
        if any(name.startswith(f"{each}.") for each in _MISSING):
            return importlib.machinery.ModuleSpec(name, self, is_package=True)
        return None

    def create_module(self, spec: Any) -> types.ModuleType:
        module = types.ModuleType(spec.name)
        module.__path__ = []

        def standing(name: str) -> Any:
            if name.startswith("__"):
                raise AttributeError(name)
            return MagicMock()

        module.__getattr__ = standing  # type: ignore[method-assign]
        return module

    def exec_module(self, module: types.ModuleType) -> None:
        pass


class _Kernels:
    """Compiled operations: each is there and says yes."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        said = MagicMock(return_value=True)
        said.default = MagicMock()
        return said


class _Config:
    def __init__(self, kwargs: Any = None, num_warps: int = 4, num_stages: int = 2, **more: Any):
        self.kwargs, self.num_warps, self.num_stages = kwargs or {}, num_warps, num_stages


def prepare(capability: tuple[int, int]) -> None:
    """Put everything in place for this process. capability: (9, 0) is a Hopper."""
    import transformers.utils.import_utils as optional

    for name in ("torchvision", "torchvision_v2", "cv2", "torchaudio", "timm"):
        getattr(optional, f"is_{name}_available", bool)()
    sys.meta_path.insert(0, _Standing())
    import torch

    torch.cuda.Stream = torch.cuda.Event = MagicMock()  # type: ignore[misc,assignment]
    from vllm import platforms
    from vllm.platforms.cuda import CudaPlatformBase
    from vllm.platforms.interface import DeviceCapability

    class Platform(CudaPlatformBase):  # type: ignore[misc]
        device_type = "cpu"

        @classmethod
        def get_device_capability(cls, device_id: int = 0) -> Any:
            return DeviceCapability(*capability)

        @classmethod
        def has_device_capability(cls, asked: Any, device_id: int = 0) -> bool:
            return capability >= (asked if isinstance(asked, tuple) else divmod(asked, 10))

        @classmethod
        def get_device_name(cls, device_id: int = 0) -> str:
            return NAMES[capability[0]]

        @classmethod
        def get_device_total_memory(cls, device_id: int = 0) -> int:
            return 80 << 30

        @classmethod
        def is_fully_connected(cls, ids: Any) -> bool:
            return True

        @classmethod
        def device_count(cls) -> int:
            return 8

        @classmethod
        def num_compute_units(cls, device_id: int = 0) -> int:
            return 132

    platforms._current_platform = Platform()
    import vllm._custom_ops  # noqa: F401
    from vllm.model_executor.models import registry
    from vllm.triton_utils import triton

    torch.ops._C = torch.ops._moe_C = _Kernels()
    triton.Config = _Config
    registry._run_in_subprocess = lambda function: function()
    from vllm.utils import deep_gemm, import_utils

    import_utils.has_deep_gemm = deep_gemm.has_deep_gemm = lambda: True
    _kernels(capability)


def _kernels(capability: tuple[int, int]) -> None:
    """Which MXFP4 kernel a server takes for gpt-oss: vLLM's own order, with triton_kernels and
    flashinfer installed as its requirements have them (layers/fused_moe/oracle/mxfp4.py)."""
    from vllm.model_executor.layers.fused_moe.oracle import mxfp4
    from vllm.model_executor.layers.quantization import mxfp4 as method

    backend = mxfp4.Mxfp4MoeBackend
    found = {8: backend.MARLIN, 9: backend.TRITON, 10: backend.FLASHINFER_TRTLLM_MXFP4_BF16,
             12: backend.MARLIN}[capability[0]]  # fmt: skip
    method.select_mxfp4_moe_backend = lambda *args, **words: (found, None)


def _ranks(tensor: int, rank: int) -> None:
    from vllm.distributed import parallel_state

    def group(size: int) -> Any:
        made = MagicMock()
        made.world_size, made.first_rank, made.last_rank = size, 0, size - 1
        made.rank = made.rank_in_group = made.local_rank = rank if size > 1 else 0
        made.ranks = list(range(size))
        made.is_first_rank = made.is_last_rank = True
        return made

    for name in list(vars(parallel_state)):
        if name in ("_TP", "_EP", "_WORLD"):
            setattr(parallel_state, name, group(tensor))
        elif name in ("_PP", "_DP", "_DCP", "_PCP", "_EPLB", "_INNER_DP_WORLD"):
            setattr(parallel_state, name, group(1))


def build(
    config: dict[str, Any], tensor: int, expert: bool = False, rank: int = 0, **media: Any
) -> Any:
    """The module of one rank. media: how the server takes it (ModelConfig's arguments)."""
    import torch
    from vllm.config import (
        DeviceConfig,
        LoadConfig,
        ModelConfig,
        ParallelConfig,
        VllmConfig,
        set_current_vllm_config,
    )
    from vllm.model_executor.model_loader.utils import get_model_architecture
    from vllm.utils.torch_utils import set_default_torch_dtype

    _ranks(tensor, rank)
    if "architectures" not in config:
        from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES as auto

        kind = config["model_type"]
        config = {**config, "architectures": [ARCHITECTURES.get(kind) or auto[kind]]}
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "config.json").write_text(json.dumps(config), "utf-8")
        model = ModelConfig(model=folder, tokenizer=folder, skip_tokenizer_init=True,
                            dtype="bfloat16" if "quantization_config" not in config else "auto",
                            enforce_eager=True, **media)  # fmt: skip
        setting = VllmConfig(
            model_config=model, device_config=DeviceConfig(device="cpu"), load_config=LoadConfig(),
            parallel_config=ParallelConfig(
                tensor_parallel_size=tensor, enable_expert_parallel=expert,
                distributed_executor_backend="mp",
            ),
        )  # fmt: skip
        with set_current_vllm_config(setting):
            kind, _ = get_model_architecture(setting.model_config)
            with set_default_torch_dtype(setting.model_config.dtype), torch.device("meta"):
                return kind(vllm_config=setting, prefix="")


def tensors(module: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """(parameters, buffers) by name: shape, dtype, bytes. What two names share is counted once, and
    a view of a parameter not at all."""
    own = {id(each) for each in module.parameters()}
    return tuple(  # type: ignore[return-value]
        {
            name: (tuple(each.shape), str(each.dtype).removeprefix("torch."),
                   each.numel() * each.element_size())
            for name, each in found
            if each._base is None or id(each._base) not in own
        }
        for found in (module.named_parameters(), module.named_buffers())
    )  # fmt: skip
