"""The packet plan against a model of a decoder: streams of every reference structure, without a video."""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import numpy as np
import pytest
from av.packet import Packet
from av.video.stream import VideoStream
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.video.reading import packets
from pipeline.video.reading.bitstream import Picture
from pipeline.video.reading.packets import NO_TIME, PacketTable
from pipeline.video.segments import everything_to, plan_segments


@dataclass(frozen=True)
class Stream:
    """Pictures in decoding order."""

    table: PacketTable
    refers_to: tuple[frozenset[int], ...]
    """For each picture, those it is predicted from."""


@st.composite
def streams(draw: st.DrawFn) -> Stream:
    """Groups that begin with a start, closed or open: leading pictures may refer to the group before."""
    times: list[tuple[int, int]] = []
    pictures: list[Picture] = []
    refers_to: list[frozenset[int]] = []
    shown_until, before = 0, 0
    for _ in range(draw(st.integers(1, 4))):
        size, num_leading = draw(st.integers(1, 10)), draw(st.integers(0, 3))
        num_leading = min(num_leading, size - 1) if times else 0
        start = len(times)
        later = draw(st.permutations(range(shown_until + num_leading + 1, shown_until + size)))
        order = [shown_until + num_leading, *draw(st.permutations(range(shown_until, shown_until + num_leading)))]
        for number, pts in enumerate([*order, *later]):
            index = start + number
            is_leading = pts < order[0]
            first = before if is_leading else start  # nothing reaches beyond the start that it is shown after
            candidates = [k for k in range(first, index) if pictures[k].is_reference and times[k][0] >= times[first][0]]
            chosen = draw(st.sets(st.sampled_from(candidates), max_size=3)) if candidates else set()
            times.append((pts, index))
            refers_to.append(frozenset(chosen if number else ()))
            pictures.append(Picture(number == 0, is_reference=number == 0 or draw(st.booleans())))
        shown_until, before = shown_until + size, start
    return Stream(PacketTable.of(times, pictures), tuple(refers_to))


@settings(max_examples=250, deadline=None)
@given(streams(), st.data())
def test_what_is_decoded_is_right_and_nothing_is_lost(stream: Stream, data: st.DataObject) -> None:
    table = stream.table
    wanted = data.draw(st.sets(st.integers(0, len(table) - 1), min_size=1))
    segments = plan_segments(table, wanted)
    assert segments is not None
    sent = [place for segment in segments for place in segment.packets.tolist()]
    assert sent == sorted(set(sent)), "no packet twice, in the order of the file"
    assert wanted <= set(sent)
    for segment in segments:
        places = segment.packets.tolist()
        assert table.is_start[places[0]]
        for place in places:  # a reference that was not sent to this decoder would show in the picture
            assert stream.refers_to[place] <= set(places)
        assert segment.shown_pts.tolist() == sorted(table.pts[places].tolist())


@given(streams(), st.data())
def test_no_picture_is_decoded_that_nothing_needs(stream: Stream, data: st.DataObject) -> None:
    """What is sent is wanted or may be referred to, and lies between a start and a wanted picture it leads to."""
    table = stream.table
    wanted = data.draw(st.sets(st.integers(0, len(table) - 1), min_size=1, max_size=4))
    for segment in plan_segments(table, wanted) or ():
        places = segment.packets.tolist()
        assert places[-1] in wanted
        assert all(place in wanted or table.is_needed_by_others[place] for place in places)
        for start in (place for place in places[1:] if table.is_start[place]):
            # A start inside a segment is not one to begin at: a leading picture after it is wanted.
            assert any(
                place in wanted and table.pts[place] < table.pts[start] for place in range(start, places[-1] + 1)
            ) or (any(place in wanted for place in places if place < start) is False)


def test_short_groups_are_jumped_between() -> None:
    table = PacketTable.of([(i, i) for i in range(40)], [Picture(i % 10 == 0, is_reference=True) for i in range(40)])
    segments = plan_segments(table, [3, 12, 31])
    assert segments is not None
    assert [segment.packets.tolist() for segment in segments] == [[0, 1, 2, 3], [10, 11, 12], [30, 31]]


def test_a_leading_picture_is_reached_from_the_group_before() -> None:
    """Decoded I0 P3 | I6 b4 b5 P9: 4 and 5 are shown before the start that they follow."""
    start, plain, other = Picture(True, True), Picture(False, True), Picture(False, False)
    table = PacketTable.of([(0, 0), (3, 1), (6, 2), (4, 3), (5, 4), (9, 5)], [start, plain, start, other, other, plain])
    from_before, from_start = plan_segments(table, [4]), plan_segments(table, [5])
    assert from_before is not None
    assert from_start is not None
    assert [segment.packets.tolist() for segment in from_before] == [[0, 1, 2, 4]]
    assert [segment.packets.tolist() for segment in from_start] == [[2, 5]]


def test_without_a_start_there_is_no_plan() -> None:
    table = PacketTable.of([(i, i) for i in range(4)], [Picture(i == 2, is_reference=True) for i in range(4)])
    assert plan_segments(table, [1]) is None
    assert plan_segments(table, [3]) is not None
    assert everything_to(table, 2).packets.tolist() == [0, 1, 2]


def test_a_hidden_packet_is_sent_and_nothing_is_expected_of_it() -> None:
    hidden = Picture(False, is_reference=True, is_shown=False)
    start, plain = Picture(True, True), Picture(False, True)
    table = PacketTable.of([(0, 0), (NO_TIME, 1), (1, 2)], [start, hidden, plain])
    segments = plan_segments(table, [2])
    assert segments is not None
    assert segments[0].packets.tolist() == [0, 1, 2]
    assert segments[0].shown_pts.tolist() == [0, 1]


def test_a_lower_layer_may_be_referred_to_by_a_higher_one() -> None:
    """HEVC: of two sub-layers, only the higher one's non-reference pictures can be left out."""
    start = Picture(True, True)
    table = PacketTable.of([(0, 0), (1, 1), (2, 2)], [start, Picture(False, False), Picture(False, False, layer=1)])
    assert table.is_needed_by_others.tolist() == [True, True, False]


def test_a_table_checks_its_columns() -> None:
    table = PacketTable.of([(0, 0), (1, 1)])
    columns = [getattr(table, name) for name in PacketTable.__slots__]
    with pytest.raises(ValueError, match=r"\(1,\)"):
        PacketTable(columns[0][:1], *columns[1:])
    assert table.decoded_end == 2
    assert PacketTable.of([(0, NO_TIME)]).decoded_end is None
    assert np.array_equal(table.head(1).pts, [0])


@pytest.mark.parametrize("kind", ["new_extradata", "skip_samples"])
def test_side_data_that_is_newer_than_pyav_hides_no_other(kind: str) -> None:
    class WithNewKind:
        def iter_sidedata(self) -> list[object]:
            raise IndexError("tuple index out of range")  # what PyAV raises for a kind without a name

        def has_sidedata(self, name: str) -> bool:
            return name == kind

    packet = cast("Packet[VideoStream]", WithNewKind())
    assert packets._has_new_parameters(packet) == (kind == "new_extradata")
