"""SGLang's own model classes on the meta device, without a GPU and without its compiled kernels.

``build(config, tensor)`` makes the module that one tensor rank of a server would make, tensors and
buffers without storage: the server's arguments are resolved by SGLang's own functions, so that the
kernels it takes by itself are those of the GPU that is said to be there. What stands in: what torch
says of a CUDA device; the groups of ranks, by their sizes; compiled extensions and packages that only
running needs. ``process_weights_after_loading`` is not run by it, but by ``finish``.

Run it with the packages that SGLang's imports ask for: its wheel unpacked (``pip download --no-deps
sglang==0.5.23``), transformers 5.19.0, compressed-tensors 0.18.0, torch for the CPU.
"""

import json
import os
import tempfile
from importlib import import_module
from pathlib import Path
from typing import Any
from unittest.mock import MagicMock

from tests.engines.stand_ins import stand_in
from tests.engines.vllm_stand_in import ARCHITECTURES, NAMES, _Config

os.environ.update(HF_HUB_OFFLINE="1")
_STANDING = """
sgl_kernel flashinfer triton triton_kernels deep_gemm tvm_ffi cutlass cuda quack tilelang torchvision
torchaudio torchcodec cv2 timm decord pynvml flash_mla deep_ep flash_attn av interegular outlines
outlines_core xgrammar llguidance loguru humming torch_memory_saver soundfile IPython nvshmem kernels
sgl_deep_gemm mooncake modelscope librosa uvloop distro datasets anthropic blobfile scipy py_spy
deepseek_recipe tml_renderers nixl petit_kernel aiter fla causal_conv1d fast_hadamard_transform
apache_tvm_ffi vllm
"""
# Types that another of SGLang's classes runs than vLLM's does, or that transformers 5.19 has not.
_OWN = {"qwen3_5_text": "Qwen3_5ForCausalLM", "qwen3_5_moe_text": "Qwen3_5MoeForCausalLM",
        "granite_swa": "GraniteForCausalLM"}  # fmt: skip


def prepare(capability: tuple[int, int]) -> None:
    """Put everything in place for this process. capability: (9, 0) is a Hopper."""
    import torch
    import transformers.utils.import_utils as optional

    # What transformers has found it remembers; the stand-ins come after.
    for name in dir(optional):
        if name.startswith("is_") and name.endswith("_available"):
            try:
                getattr(optional, name)()
            except Exception:  # some ask for an argument
                continue
    stand_in(set(_STANDING.split()))
    _device(torch, capability)
    import pydantic
    import triton
    import xgrammar

    triton.__version__, triton.Config = "3.5.0", _Config
    triton.runtime.driver.active.get_current_target.return_value.backend = "cuda"
    torch._C._cuda_getCurrentRawStream = MagicMock()
    xgrammar.StructuralTag = type("StructuralTag", (pydantic.BaseModel,), {})
    unchanged: Any = lambda function=None, **words: function or (lambda each: each)  # noqa: E731
    torch.compile = unchanged


def _device(torch: Any, capability: tuple[int, int]) -> None:
    """What torch says of eight GPUs of one kind."""
    cuda, total = torch.cuda, (180 if capability[0] == 10 else 80) << 30
    about = MagicMock(
        multi_processor_count=132, total_memory=total, major=capability[0], minor=capability[1],
        L2_cache_size=50 << 20,
    )  # fmt: skip
    about.name = NAMES[capability[0]]
    torch.version.cuda = "13.0"
    for name, answer in {
        "is_available": True, "get_device_capability": capability, "device_count": 8,
        "get_device_name": about.name, "current_device": 0, "set_device": None,
        "get_device_properties": about, "mem_get_info": (total - (1 << 30), total),
    }.items():  # fmt: skip
        setattr(cuda, name, lambda *_, _answer=answer, **__: _answer)
    cuda.Stream = cuda.Event = cuda.current_stream = MagicMock()


def _group(size: int, rank: int) -> Any:
    made = MagicMock(world_size=size, rank_in_group=rank, rank=rank, local_rank=rank)
    made.ranks, made.is_first_rank, made.is_last_rank = list(range(size)), True, True
    return made


def _place(tensor: int, rank: int) -> None:
    """The groups of ranks, with the widths that the arguments resolved to."""
    from sglang.srt import runtime_context
    from sglang.srt.distributed import parallel_state

    parallel = runtime_context.get_parallel()
    groups = {"pp_group": _group(1, 0), "world_group": _group(tensor, rank)}
    for kind in ("tp", "attn_tp", "attn_cp", "moe_ep", "moe_tp", "moe_dp"):
        width = getattr(parallel, f"{kind}_size")
        groups[f"{kind}_group"] = _group(width, getattr(parallel, f"{kind}_rank", 0))
    groups["shared_experts_tp_group"] = groups["tp_group"]
    parallel.override_permanently(**groups)
    for name, made in groups.items():
        setattr(parallel_state, f"_{name.removesuffix('_group').upper()}", made)


def _on_meta() -> Any:
    """Tensors that a class puts on the GPU by name stand without storage as well."""
    from torch.overrides import TorchFunctionMode

    class Mode(TorchFunctionMode):
        def __torch_function__(
            self, function: Any, types: Any, args: Any = (), words: Any = None
        ) -> Any:
            words = dict(words or {})
            if str(words.get("device", "")).startswith("cuda"):
                words["device"] = "meta"
            return function(*args, **words)

    return Mode()


def build(config: dict[str, Any], tensor: int, rank: int = 0, **flags: Any) -> Any:
    """The module of one rank. flags: of SGLang's server (ServerArgs)."""
    import torch
    from sglang.srt import runtime_context
    from sglang.srt.configs.load_config import LoadConfig
    from sglang.srt.configs.model_config import ModelConfig
    from sglang.srt.layers.dp_attention import initialize_dp_attention
    from sglang.srt.layers.moe.utils import initialize_moe_config
    from sglang.srt.model_loader import loader
    from sglang.srt.model_loader.utils import set_default_torch_dtype
    from sglang.srt.server_args import ServerArgs

    if "architectures" not in config:
        from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES as auto

        kind = config["model_type"]
        found = _OWN.get(kind) or ARCHITECTURES.get(kind) or auto[kind]
        config = {**config, "architectures": [found]}
    plain = "quantization_config" not in config
    runtime_context.reset_context()
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "config.json").write_text(json.dumps(config), "utf-8")
        # Llama 4's class looks here for whether there is a tower.
        index = {"weight_map": {"vision_model.x": ""} if "vision_config" in config else {}}
        Path(folder, "model.safetensors.index.json").write_text(json.dumps(index), "utf-8")
        args = ServerArgs(
            model_path=folder, tp_size=tensor, skip_tokenizer_init=True,
            dtype="bfloat16" if plain else "auto", log_level="error", **flags,
        )  # fmt: skip
        ranks = runtime_context.SpawnRanks(world_rank=rank, gpu_id=0)
        runtime_context.publish(args, role="scheduler", ranks=ranks)
        _place(tensor, rank)
        initialize_dp_attention(args)
        initialize_moe_config()
        model, load = ModelConfig.from_server_args(args), LoadConfig()
        model.hf_config._name_or_path = folder
        how = loader._get_quantization_config(model, load)
        with set_default_torch_dtype(model.dtype), torch.device("meta"), _on_meta():
            return loader._initialize_model(model, load, how)


def finish(module: Any) -> int:
    """Make of packed integers what SGLang does once they are loaded; the bytes of orders beside them.

    Marlin's repacking, a compiled kernel, is stood in for by its shape: [k / 16, 16 x the words of a row].
    """
    import torch
    from sglang.srt.hardware_backend.gpu.quantization import gptq_kernels
    from sglang.srt.layers.quantization.compressed_tensors import schemes

    def repacked(packed: Any, perm: Any = None, size_k: int = 0, *_: Any, **__: Any) -> Any:
        rows = size_k // 16
        return torch.empty(rows, packed.numel() // rows, dtype=packed.dtype, device="meta")

    def of_experts(packed: Any, perm: Any, size_k: int, *_: Any) -> Any:
        return torch.stack([repacked(packed[0], None, size_k)] * len(packed))

    linear = import_module(f"{schemes.__name__}.compressed_tensors_wNa16")
    experts = import_module(f"{schemes.__name__}.compressed_tensors_wNa16_moe")
    gptq_kernels.gptq_marlin_repack = linear.gptq_marlin_repack = repacked
    gptq_kernels.gptq_marlin_moe_repack = experts.gptq_marlin_moe_repack = of_experts
    with torch.device("meta"), _on_meta():
        for each in [*module.modules()]:
            method = getattr(each, "quant_method", None)
            if method is not None and not type(method).__name__.startswith("Unquantized"):
                method.process_weights_after_loading(each)
    orders = [vars(each).get("g_idx_sort_indices") for each in module.modules()]
    return sum(each.numel() * each.element_size() for each in orders if each is not None)
