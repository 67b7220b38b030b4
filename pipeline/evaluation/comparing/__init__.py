"""`fda compare`: feature sets side by side. Come here to change how they are paired and compared."""
