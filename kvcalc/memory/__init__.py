"""From a spec and a workload to bytes: sums over the inventory of tensors."""
