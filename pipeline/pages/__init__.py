"""HTML pages and the pictures in them. Come here to change how pages look."""
