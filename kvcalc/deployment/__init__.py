"""Machines: how much memory a device has, what an engine takes of it, and what fits in the rest."""
