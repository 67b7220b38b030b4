"""What a process does that a file has broken. It imports little, since it is imported in new processes."""

import os
import time


def sleep_long(request: object) -> None:
    """What a decoder may do that hangs."""
    time.sleep(600)


def end_at_once(request: object) -> None:
    """Called in place of what makes a video playable."""
    os._exit(3)
