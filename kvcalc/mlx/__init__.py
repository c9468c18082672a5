"""What mlx-lm makes of a model's weights: which modules it quantises, and how.

Held to the byte against mlx-lm 0.32.2 on mlx 0.32.4 (tests/mlx/measured.json).
"""
