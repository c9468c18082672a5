"""What a few families add to the residual stream around the mixers: weights only, never a cache.

Each dataclass answers ``layer_parameters(hidden_size)`` for every decoder layer and
``model_parameters(hidden_size, num_layers)`` for what stands once before the layers, or
``final_parameters(hidden_size)`` for what stands once after the last. They are
parts of the model, not kinds of mixers, so a spec names them by their own keys.
"""
