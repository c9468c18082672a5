"""The proofs that hold the calculator's inventory against models that run.

*parameters*   the language model at true size on the meta device: names, shapes, dtypes, total;
*towers*       where there are any: each at true size on the meta device, names and shapes, and a pass
               that reaches every weight;
*cache*        what the model kept after a prefill and after every decode step, in bf16: layers of
               true size on the meta device, then all layers made small, with values;
*sufficient*   decoding with that cache gives what one pass without it gives, float64, within 1e-9;
*necessary*    changing any cached tensor, and any single position of it, changes the outputs.

Each is a module of kvcalc/verify/prove. The calculator says what it expects through
kvcalc/memory/inventory.py; the models say what is.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch

from kvcalc.errors import UnsupportedError
from kvcalc.proofs import Verification
from kvcalc.spec.model import ModelSpec
from kvcalc.verify.prove.cache import prove_cache
from kvcalc.verify.prove.necessary import prove_necessary
from kvcalc.verify.prove.parameters import prove_parameters
from kvcalc.verify.prove.small import Run
from kvcalc.verify.prove.sufficient import prove_sufficient
from kvcalc.verify.prove.towers import prove_towers
from kvcalc.verify.reduce import reduced

Say = Callable[[str], None]


def verify(spec: ModelSpec, say: Say = lambda text: None) -> Verification:
    """Run all four proofs on a CPU: parameters at true size, the others on a small model.

    say: told what is being done. Raises UnsupportedError when the model cannot be made small or
    its parts do not fit together.
    """
    if spec.draft is not None:
        raise UnsupportedError(
            f"{spec.name}: a draft runs on hidden states of another model, which no proof here makes"
        )
    started = time.monotonic()
    say(f"{spec.name}: parameters at true size on the meta device")
    proofs = [prove_parameters(spec)]
    if spec.towers:
        say(f"{spec.name}: towers at true size on the meta device")
        proofs.append(prove_towers(spec))
    small = reduced(spec)
    try:
        run = Run(small.spec)
        with torch.inference_mode(), one_thread():
            say(f"{spec.name}: cache at true size on the meta device, then {run.plan}")
            proofs.append(prove_cache(Run(reduced(spec, whole_depth=True).spec), spec))
            say(f"{spec.name}: sufficient and necessary")
            proofs += [prove_sufficient(run), prove_necessary(run)]
    except (RuntimeError, IndexError, KeyError) as error:
        # torch says so when sizes that no rule compares do not fit.
        raise UnsupportedError(f"{spec.name}: the reference model does not run: {error}") from error
    return Verification(
        model=spec.name,
        source=spec.source,
        device="cpu",
        against="reference",
        torch_version=torch.__version__,
        proofs=tuple(proofs),
        changes=small.changes,
        plan=str(run.plan),
        seconds=round(time.monotonic() - started),
    )


@contextmanager
def one_thread() -> Iterator[None]:
    """Small tensors are computed faster by one thread than by several that wait for each other."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
