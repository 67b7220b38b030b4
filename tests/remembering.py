"""A decoder for tests of what comes after decoding, which decode the same videos many times."""

from __future__ import annotations

from collections.abc import Generator, Iterable
from dataclasses import dataclass
from functools import lru_cache

from pipeline.isolation.decoder import Answer, DecodeRequest
from pipeline.video.clips import DecodedClip, VideoError
from pipeline.video.decoding import decode_clip


@dataclass(frozen=True)
class RememberingDecoder:
    """Decodes in this process, and each video once."""

    def decode(self, requests: Iterable[DecodeRequest]) -> Generator[Answer]:
        for position, request in enumerate(requests):
            yield Answer(position, _decoded_once(request))

    def close(self) -> None:
        """Nothing runs for it."""


@lru_cache
def _decoded_once(request: DecodeRequest) -> DecodedClip | VideoError:
    try:
        return decode_clip(request.path, request.options, request.window)
    except VideoError as error:
        return error
