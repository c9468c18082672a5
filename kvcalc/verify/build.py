"""Reference models ready to run: on the meta device at true size, or small and filled on a CPU."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

from kvcalc.spec.model import ModelSpec
from kvcalc.verify.ffn.moe import Router
from kvcalc.verify.model import ReferenceModel
from kvcalc.verify.parts import Embedding, Norm


@contextmanager
def default_dtype(dtype: torch.dtype) -> Iterator[None]:
    """New parameters in this dtype, whatever the caller had set."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


def on_meta(spec: ModelSpec, dtype: torch.dtype = torch.bfloat16) -> ReferenceModel:
    """The model at true size: names, shapes and dtypes without any data."""
    with default_dtype(dtype), torch.device("meta"):
        return ReferenceModel(spec)


def filled(spec: ModelSpec, seed: int = 0, device: str = "cpu") -> ReferenceModel:
    """The model in float64 with random weights: the same for the same spec and seed."""
    model = on_meta(spec, torch.float64).to_empty(device=device)
    generator = torch.Generator(device).manual_seed(seed)
    with torch.no_grad():
        for module in model.modules():
            for name, parameter in module.named_parameters(recurse=False):
                _fill(module, name, parameter, generator)
            for name, tensor in module.named_buffers(recurse=False):
                if isinstance(module, Router) and name == "tid2eid":
                    tensor.random_(0, module.c.num_experts, generator=generator)
                else:
                    tensor.normal_(1.0, 0.1, generator=generator)
    return model.eval()


def _fill(module: nn.Module, name: str, tensor: torch.Tensor, generator: torch.Generator) -> None:
    """Weights that keep activations near one, norms near the identity, vectors of some spread."""
    if isinstance(module, Norm) and name == "weight":
        tensor.normal_(1.0, 0.1, generator=generator)
    elif isinstance(module, Embedding):
        tensor.normal_(0.0, 1.0, generator=generator)
    elif tensor.dim() > 1:
        tensor.normal_(0.0, tensor.shape[-1] ** -0.5, generator=generator)
    else:
        tensor.normal_(0.3, 0.3, generator=generator)
