"""*towers*: each tower and projector at true size on the meta device: names, shapes, and a pass.

The pass must reach every weight: a gradient comes back to each, so no tensor is listed that the equation
has no use for.
"""

import torch

from kvcalc.errors import UnsupportedError
from kvcalc.memory.towers import tower_groups
from kvcalc.proofs import Proof, Row, Tensor, proved
from kvcalc.spec.model import ModelSpec
from kvcalc.verify.build import default_dtype
from kvcalc.verify.places import as_tensor
from kvcalc.verify.towers import module_of


def prove_towers(spec: ModelSpec) -> Proof:
    """Every weight of every tower against the inventory, by name and shape, and a pass through each."""
    measured: dict[str, tuple[torch.Tensor, bool]] = {}
    failures: list[str] = []
    for name, tower in spec.towers.items():
        with default_dtype(torch.bfloat16), torch.device("meta"):
            module = module_of(tower)
        _passes(f"towers.{name}", module, failures)
        measured |= {f"towers.{name}.{n}": (p, False) for n, p in module.named_parameters()}
        measured |= {f"towers.{name}.{n}": (b, True) for n, b in module.named_buffers()}
    rows: list[Row] = []
    listed: set[str] = set()
    formula = 0
    for group in tower_groups(spec):
        for tensor in group.tensors:
            expected = Tensor(tensor.shape, "bf16", 2 * tensor.numel)
            passed, shown = True, None
            for layer in group.layers or ("",):
                name = group.prefix.format(layer) + tensor.name
                problem = _problem(name, tensor.shape, tensor.buffer, measured.get(name), listed)
                listed.add(name)
                shown = measured[name][0] if name in measured and shown is None else shown
                if problem:
                    passed = False
                    failures.append(f"{name}: {problem}")
            formula += 0 if tensor.buffer else tensor.numel * group.count
            found = None if shown is None else as_tensor(shown)
            rows.append(Row(group.prefix + tensor.name, group.count, passed, expected, found))
    failures += [
        f"{name}: of the module, and the formula leaves it out"
        for name in measured
        if name not in listed
    ]
    total = sum(tensor.numel() for tensor, buffer in measured.values() if not buffer)
    return proved("towers", rows, failures, unit="parameters",
                 formula_total=formula, measured_total=total)  # fmt: skip


def _passes(where: str, module: torch.nn.Module, failures: list[str]) -> None:
    try:
        module(module.example()).float().sum().backward()  # type: ignore[operator]
    except (RuntimeError, IndexError) as error:
        raise UnsupportedError(f"{where}: the reference module does not run: {error}") from error
    failures += [
        f"{where}.{name}: no pass reaches it"
        for name, parameter in module.named_parameters()
        if parameter.grad is None
    ]


def _problem(
    name: str, shape: tuple[int, ...], buffer: bool, found: tuple[torch.Tensor, bool] | None,
    listed: set[str],
) -> str:  # fmt: skip
    if name in listed:
        return "the formula counts it twice"
    if found is None:
        return f"in the formula {list(shape)}, not in the module"
    if tuple(found[0].shape) != shape:
        return f"formula {list(shape)}, measured {list(found[0].shape)}"
    kinds = ("a parameter", "a buffer")
    return f"formula {kinds[buffer]}, measured {kinds[found[1]]}" if found[1] != buffer else ""
