"""Command lines of `fda`, written from options."""
