"""Moments of videos in words."""


def clock(seconds: float) -> str:
    """A time in a video, as players show it, with tenths: many clips last a few seconds.

    >>> clock(5.26), clock(59.96), clock(3723.9)
    ('0:05.3', '1:00.0', '1:02:03.9')
    """
    minutes, rest = divmod(round(seconds, 1), 60)
    hours, minutes = divmod(int(minutes), 60)
    return f"{hours}:{minutes:02d}:{rest:04.1f}" if hours else f"{minutes}:{rest:04.1f}"
