"""What a spec is held to in CI: form, expected values, budgets, provenance."""
