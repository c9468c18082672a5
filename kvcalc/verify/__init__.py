"""Reference PyTorch modules and the four proofs that hold the calculator to them.

The only part of kvcalc that imports torch, and imported only inside the ``verify`` command. One file
per mechanism mirrors kvcalc/attention, kvcalc/recurrent, kvcalc/ffn and kvcalc/stack. The modules
read a mechanism's fields and nothing else: they never call its ``cache()`` or ``parameters()``.
What they keep between decode steps comes into being by running them.
"""
