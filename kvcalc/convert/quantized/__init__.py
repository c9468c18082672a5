"""Quantised checkpoints: which module is stored how, decided as each method itself matches names."""
