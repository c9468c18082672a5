"""The transformers models that specs describe: how they are written, built and compared."""
