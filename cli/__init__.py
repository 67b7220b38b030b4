"""The `fda` command, its progress bars and pages."""
