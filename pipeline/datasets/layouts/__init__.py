"""One file per data set layout. Come here to add a data set."""
