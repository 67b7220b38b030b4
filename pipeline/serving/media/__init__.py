"""Videos as browsers play them: as they are, copied into another container, or transcoded."""
