"""Several processes, or actors on a Ray cluster, that share the CPU-bound work of an assistant."""
