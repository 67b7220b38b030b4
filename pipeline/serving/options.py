"""How `fda serve` serves."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass, field
from pathlib import Path

from pipeline.errors import OptionError
from pipeline.run.fields import convert_fields, local_path

DEFAULT_PORT = 8765
LOOPBACK = ("127.0.0.1", "::1", "localhost")


def user_cache() -> Path:
    """The user's folder for files that can be made again."""
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "fda"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "fda"


@dataclass(frozen=True, slots=True, kw_only=True)
class ConversionOptions:
    """How videos that browsers do not play are made playable."""

    folder: Path = field(default_factory=lambda: user_cache() / "playable")
    """Where they are kept."""
    max_mib: int = 4096
    """Size of that folder; what was not used for longest is removed."""
    at_once: int = 2
    """Videos that are converted at a time."""
    waiting: int = 32
    """Videos that may be asked for and not be ready; another one is refused until then."""
    max_seconds: float = 600.0
    """Of a video whose pictures must be encoded again: what comes later is left out."""
    timeout_seconds: float = 120.0

    def __post_init__(self) -> None:
        convert_fields(self, folder=local_path)
        for name in ("max_mib", "at_once", "waiting", "max_seconds", "timeout_seconds"):
            if not getattr(self, name) > 0:
                raise OptionError(f"{name} must be positive, got {getattr(self, name)}")


@dataclass(frozen=True, slots=True, kw_only=True)
class ServeOptions:
    """Where to serve, and what."""

    host: str = "127.0.0.1"
    """Address to listen at. Any other than this machine's own lets everybody who reaches it see the videos."""
    port: int = DEFAULT_PORT
    """0: any that is free."""
    allowed_hosts: tuple[str, ...] = ()
    """Names under which browsers may ask besides this machine's own: that of a proxy, say."""
    videos: Path | None = None
    """Folder of the videos. Default: where the runs that decoded them found them."""
    open_browser: bool = False
    check_seconds: float = 3.0
    """How often it looks whether the stores have changed, while pages are asked for."""
    conversion: ConversionOptions = field(default_factory=ConversionOptions)

    def __post_init__(self) -> None:
        convert_fields(self, allowed_hosts=tuple, videos=local_path)
        if not 0 <= self.port <= 65535:
            raise OptionError(f"the port must be 0 to 65535, got {self.port}")
        if not self.host.strip():
            raise OptionError("the host must not be empty")

    @property
    def is_local(self) -> bool:
        """Whether only this machine is served."""
        return self.host in LOOPBACK
