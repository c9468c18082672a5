"""The four proofs, a module for each."""
