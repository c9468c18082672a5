"""Hold a wheel to what git tracks of the package: nothing missing, nothing more."""

import subprocess
import sys
import zipfile

tracked = subprocess.check_output(("git", "ls-files", "kvcalc", "model_specs"), text=True).split()
wanted = {name.replace("model_specs/", "kvcalc/_specs/", 1) for name in tracked}
held = {name for name in zipfile.ZipFile(sys.argv[1]).namelist() if ".dist-info/" not in name}
if held != wanted:
    sys.exit(f"missing: {sorted(wanted - held)}\nnot tracked: {sorted(held - wanted)}")
print(f"{len(held)} files, as git tracks them")
