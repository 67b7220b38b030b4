"""`fda generate`: encoded videos of a generated world, with ground truth, in which one factor can be set alone."""
