"""Bootstrap intervals and permutation tests. Come here to change how certain a number is."""
