"""Clips of a store as models and people read them: masks or controls as alpha, batches, read ahead."""
