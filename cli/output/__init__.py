"""What commands print, draw and write: tables, progress bars, pages."""
