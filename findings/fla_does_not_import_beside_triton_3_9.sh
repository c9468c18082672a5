#!/usr/bin/env bash
# flash-linear-attention 0.5.2 with triton 3.9.0: every one of its layers is out of reach.
#
# One would guess that a package whose metadata bounds no release of triton imports beside the newest. A kernel is
# tuned by a name that it has no argument of; triton 3.9 looks when the module is imported and refuses.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q "torch==2.13.0" "transformers==5.23.0" einops
"$folder/venv/bin/pip" install -q --no-deps "triton==3.9.0" "flash-linear-attention==0.5.2" "fla-core==0.5.2"
"$folder/venv/bin/python" - <<'PYTHON'
from importlib.metadata import requires, version

bounds = [each for each in (requires("fla-core") or []) + (requires("flash-linear-attention") or []) if "triton" in each]
print("flash-linear-attention", version("flash-linear-attention"), "triton", version("triton"), "bounds:", bounds)
try:
    import fla.layers  # noqa: F401
except ValueError as error:
    print("import fla.layers:", error)
    assert "BT" in str(error) and "not kernel arguments" in str(error), error
else:
    raise SystemExit("fla.layers imports now")
PYTHON
