"""`fda status`, `fda finalise` and `fda remove`. Come here to change how a store is inspected and cleaned up."""
