"""How many tokens a model makes of an image, a sound or a video: the rules of the processors.

A processor resizes, crops and pools; what is left of an image takes places in the prompt and so in
the cache. Each rule is a frozen dataclass whose fields bear the names of ``preprocessor_config.json``
and which answers ``placeholders(image)``; one file per way of cutting an image up. ``families`` says
which rule a ``model_type`` has and what its class assumes where the file is silent.

The processors decide in double precision (a ratio, a square root), and a tie falls as the rounding
does. So these rules use the same floating-point operations in the same order, and nothing else of
kvcalc does: the count that comes out is an integer, equal to what the processor makes.
"""
