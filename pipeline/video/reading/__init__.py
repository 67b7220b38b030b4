"""Opening a file: container, packets, timeline, truncation; nothing is decoded here."""
