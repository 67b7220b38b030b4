"""What a process does that a file has broken. It imports little, since it is imported in new processes."""

import os


def end_at_once(request: object) -> None:
    """Called in place of what makes a video playable."""
    os._exit(3)
