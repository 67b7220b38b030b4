"""Files from anybody, read within limits: text, CSV, JSON."""
