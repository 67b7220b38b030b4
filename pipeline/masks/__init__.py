"""Motion masks: where neighbouring frames of a clip differ (FDA-CLIP, arXiv 2510.21806)."""
