"""`fda experiment`: plans of trainings, their cells, and what they say. Come here to add or change an experiment."""
