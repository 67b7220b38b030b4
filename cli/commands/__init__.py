"""One file per command: parse, call one function of `fda`, print."""
