"""Where things are, for tests in any folder."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
"""Of the project."""
SHARED = ROOT.parent / "shared" / "data"
"""Real clips and annotations, which are not part of the project."""
