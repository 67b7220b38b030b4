"""Moments of videos in words."""


def clock(seconds: float) -> str:
    """A time in a video, as players show it.

    >>> clock(5.26), clock(83), clock(3723.9)
    ('0:05', '1:23', '1:02:03')
    """
    minutes, whole = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{whole:02d}" if hours else f"{minutes}:{whole:02d}"
