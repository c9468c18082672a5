"""Cache against context, and where the memory goes: drawn in characters and by matplotlib."""
