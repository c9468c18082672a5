"""The command line: one file per command; the only place that prints."""

import gc

# A command lives for a tenth of a second and makes no garbage worth collecting; the collector's
# passes over freshly imported modules would cost a tenth of that.
gc.disable()
