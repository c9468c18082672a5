"""*parameters*: the whole model at true size on the meta device, by name, shape, dtype and total."""

import torch

from kvcalc.memory.inventory import ParamGroup, parameter_groups
from kvcalc.memory.towers import TOWER_COMPONENTS
from kvcalc.memory.weights import ledger, summarise
from kvcalc.proofs import Proof, Row, Tensor, proved, spans
from kvcalc.spec.model import ModelSpec
from kvcalc.tensors import ParamTensor
from kvcalc.verify.build import on_meta
from kvcalc.verify.places import NAME_OF, as_tensor


def prove_parameters(spec: ModelSpec) -> Proof:
    """Every weight of the model at true size against the inventory, by name."""
    model = on_meta(spec)
    measured: dict[str, tuple[torch.Tensor, bool]] = {}
    measured |= {name: (tensor, False) for name, tensor in model.named_parameters()}
    measured |= {name: (tensor, True) for name, tensor in model.named_buffers()}
    rows: list[Row] = []
    failures: list[str] = []
    listed: set[str] = set()
    for group in parameter_groups(spec):
        for tensor in group.tensors:
            rows.append(_weight_row(group, tensor, measured, listed, failures))
    for name, (found, buffer) in measured.items():
        if name not in listed:
            kind = "buffer" if buffer else "parameter"
            failures.append(f"{name}: a {kind} of the model that the formula leaves out")
            rows.append(Row(name, 1, False, None, as_tensor(found)))
    total = sum(tensor.numel() for tensor, buffer in measured.values() if not buffer)
    num_bytes = sum(
        tensor.numel() * tensor.element_size() for tensor, buffer in measured.values() if not buffer
    )
    formula = summarise(spec).language_model
    if formula != total:
        failures.append(f"total: formula {formula} parameters, measured {total}")
    formula_bytes = sum(
        row.bytes for row in ledger(spec, "bf16").rows if row.component not in TOWER_COMPONENTS
    )
    if formula_bytes != num_bytes:
        failures.append(
            f"total: formula {formula_bytes} bytes of bf16 weights, measured {num_bytes}"
        )
    return proved("parameters", rows, failures,
                 unit="parameters", formula_total=formula, measured_total=total)  # fmt: skip


def _weight_row(
    group: ParamGroup, tensor: ParamTensor, measured: dict[str, tuple[torch.Tensor, bool]],
    listed: set[str], failures: list[str],
) -> Row:  # fmt: skip
    """One tensor of the inventory in all layers that own it."""
    expected = Tensor(tensor.shape, "bf16", 2 * tensor.numel)
    passed, shown = True, None
    for layer in group.layers or (None,):
        prefix = group.prefix if layer is None else group.prefix.format(layer)
        name = prefix + tensor.name
        problem = _weight_problem(name, tensor, measured.get(name), name in listed)
        listed.add(name)
        if name in measured and (shown is None or problem):
            shown = as_tensor(measured[name][0])
        if problem:
            passed = False
            failures.append(f"{name}: {problem}")
    where = group.prefix.replace("{}", spans(group.layers)) if group.layers else group.prefix
    note = "buffer, counted apart" if tensor.buffer else ""
    return Row(where + tensor.name, group.count, passed, expected, shown, note)


def _weight_problem(
    name: str, tensor: ParamTensor, found: tuple[torch.Tensor, bool] | None, twice: bool
) -> str:
    if twice:
        return "the formula counts it twice"
    if found is None:
        return f"in the formula {list(tensor.shape)}, not in the model"
    measured, buffer = found
    if tuple(measured.shape) != tensor.shape:
        return f"formula {list(tensor.shape)}, measured {list(measured.shape)}"
    if buffer != tensor.buffer:
        kinds = ("a parameter", "a buffer")
        return f"formula {kinds[tensor.buffer]}, measured {kinds[buffer]}"
    if not buffer and measured.dtype != torch.bfloat16:
        return f"formula bf16, measured {NAME_OF[measured.dtype]}"
    return ""
