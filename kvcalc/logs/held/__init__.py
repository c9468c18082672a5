"""A start's figures, held against what kvcalc says of the same question: one module for each engine."""
