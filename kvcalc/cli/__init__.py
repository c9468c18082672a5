"""The command line: one file per command; the only place that prints."""

import atexit
import gc

# A command lives for a tenth of a second and makes no garbage worth collecting. The collector's
# passes, over freshly imported modules and once more over everything at exit, would cost a sixth of
# that; frozen objects are left out of the last ones.
gc.disable()
atexit.register(gc.freeze)
