"""One training step: losses, parameter groups, processes, state."""
