"""How small files are written: Parquet tables, and the checksum that each carries."""
