"""HTML pages, and the figures and pictures in them. Come here to change how pages look."""
