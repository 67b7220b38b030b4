"""Which run writes into a store now. Come here to change how two runs exclude each other."""
