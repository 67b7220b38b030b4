"""Files of weights, in and out. Come here to read another layout."""
