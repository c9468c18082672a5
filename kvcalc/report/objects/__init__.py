"""What ``--format json`` prints, as types: one file per answer.

``filled.py`` writes an object of a type from what the answer is made of; ``kvcalc schema --answer NAME``
turns a type into a JSON Schema (``schema.py``), and tests hold every answer's real output to it.
"""

# The word of ``kvcalc schema --answer`` -> where its types are: one object, or a list for several models.
ANSWERS = {
    "estimate": ("kvcalc.report.objects.estimate", ("Estimate", "EngineEstimate", "AllEngines")),
    "traffic": ("kvcalc.report.objects.traffic", ("Traffic",)),
    "compare": ("kvcalc.report.objects.compare", ("Compare",)),
    "capacity": ("kvcalc.report.objects.capacity", ("Capacity",)),
    "log": ("kvcalc.report.objects.log", ("Log",)),
    "fit": ("kvcalc.report.objects.fit", ("Fit", "LocalFit", "LocalFiles", "Choices", "Together")),
    "tiers": ("kvcalc.report.objects.tiers", ("Tiers",)),
    "explain": ("kvcalc.report.objects.explain", ("Explained", "Reference")),
    "models": ("kvcalc.report.objects.models", ("Models",)),
    "check": ("kvcalc.report.objects.check", ("Check", "Rules")),
    "diff": ("kvcalc.report.objects.diff", ("Diff",)),
    "verify": ("kvcalc.report.objects.verify", ("Verify",)),
    "error": ("kvcalc.report.objects.error", ("Failure",)),
}
