"""What a file of the zoo shows: whether it has what it is there for."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

from tests.zoo.truth import FullDecode


def has_b(whole: FullDecode) -> bool:
    return "B" in whole.kinds


def has_leading(whole: FullDecode) -> bool:
    return has_b(whole) and whole.num_leading > 0


def has_hidden(whole: FullDecode) -> bool:
    return len(whole.packets) > len(whole.frames)


def has_discarded(whole: FullDecode) -> bool:
    return any(packet.is_discard for packet in whole.packets) and len(whole.frames) < len(whole.packets)


def has_no_times(whole: FullDecode) -> bool:
    return any(frame.pts is None for frame in whole.frames)


def has_times_of_decoding(whole: FullDecode) -> bool:
    return has_b(whole) and len({(p.pts or 0) - (p.dts or 0) for p in whole.packets}) == 1


def goes_back(whole: FullDecode) -> bool:
    times = [frame.pts or 0 for frame in whole.frames]
    return any(after <= before for before, after in pairwise(times))


def formatted(*names: str) -> Callable[[FullDecode], bool]:
    return lambda whole: {frame.format.name for frame in whole.frames} == set(names)


def changes_size(whole: FullDecode) -> bool:
    return len({(frame.width, frame.height) for frame in whole.frames}) == 2


def turned(whole: FullDecode) -> bool:
    return all(frame.side_data.get("DISPLAYMATRIX") is not None for frame in whole.frames)


def sized(width: int, height: int) -> Callable[[FullDecode], bool]:
    return lambda whole: {(frame.width, frame.height) for frame in whole.frames} == {(width, height)}


def num_frames(number: int) -> Callable[[FullDecode], bool]:
    return lambda whole: len(whole.frames) == number


def has_superframes(whole: FullDecode) -> bool:
    return any(packet.data[-1] & 0xE0 == 0xC0 for packet in whole.packets)  # a hidden picture and a shown one


def has_layers(whole: FullDecode) -> bool:
    return {packet.data[5] & 7 for packet in whole.packets} == {1, 2, 3}  # nuh_temporal_id_plus1, after a length


def has_refresh(whole: FullDecode) -> bool:
    return whole.kinds.count("I") == 1 < sum(packet.is_key for packet in whole.packets)


def starts_without_key(whole: FullDecode) -> bool:
    return not whole.packets[0].is_key and 20 < len(whole.frames) < len(whole.packets)
