"""The page of ``kvcalc report``: a frame, its style and script, and what it computes from."""
