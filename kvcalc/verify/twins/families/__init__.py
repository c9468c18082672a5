"""Writers of configs, a module for each family, as in kvcalc/convert/families."""
