"""Flags that commands share, each defined once."""
