"""`fda eval`: scores, ranks, metrics by protocol, confidence intervals. Come here to add a protocol or a metric."""
