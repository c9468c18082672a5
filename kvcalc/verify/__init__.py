"""Reference PyTorch modules and the proofs that hold the calculator to them.

The only part of kvcalc that imports torch, and imported only inside the ``verify`` command. One file
per mechanism mirrors kvcalc/attention, kvcalc/recurrent, kvcalc/ffn and kvcalc/stack. The modules
read a mechanism's fields and nothing else: they never call its ``cache()`` or ``parameters()``.
What they keep between decode steps comes into being by running them.

    runner                ``verify``: the four proofs on a CPU
    question              what ``kvcalc verify`` asks, and which of these answers
    measure               ``--device cuda``: true sizes, the allocator's own bytes
    parallel              ``--tp``: a model over several ranks
    against_transformers  ``--against transformers``: the twins that transformers builds
    model, layer, parts   a whole model from a spec, one layer of it, what mechanisms share
    reduce, plan, build   a spec made small, how many tokens to run, models ready to run
    prove/                a module for each proof; proofs.py says what one is
"""
