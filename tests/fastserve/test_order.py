"""The two orders against plain lists, and the requests that wait to be admitted."""

from __future__ import annotations

import random

from systems.fastserve.order import Outside, Queues, Sorted


def test_queues_are_first_in_first_out_and_a_head_goes_before_all() -> None:
    queues = Queues()
    for request, level in enumerate([1, 0, 1, 0]):
        queues.enqueue(request, level)
    queues.enqueue(4, 1, first=True)
    queues.enqueue(5, 1, first=True)
    assert list(queues) == [1, 3, 5, 4, 0, 2]
    assert [queues.keys[request][0] for request in queues] == [0, 0, 1, 1, 1, 1]
    queues.enqueue(1, 1)
    assert list(queues) == [3, 5, 4, 0, 2, 1], "it left the queue where it was"
    assert queues.counts(5) == [1, 5]


def test_queues_agree_with_lists_through_random_moves() -> None:
    draw = random.Random(1)
    queues, lists = Queues(), [[] for _ in range(6)]  # type: tuple[Queues, list[list[int]]]
    for _ in range(3000):
        request, level, first = draw.randrange(40), draw.randrange(6), draw.random() < 0.3
        for other in lists:
            if request in other:
                other.remove(request)
        if request in queues.keys and draw.random() < 0.3:
            queues.remove(request)
        else:
            queues.enqueue(request, level, first=first)
            lists[level].insert(0 if first else len(lists[level]), request)
        flat = [request for other in lists for request in other]
        assert list(queues) == flat
        assert list(reversed(queues)) == flat[::-1]
        assert sorted(flat, key=lambda request: queues.keys[request]) == flat
        assert queues.counts(3) == [len(other) for other in lists[:3]][: len(queues.counts(3))]


def test_sorted_agrees_with_a_list_through_random_moves() -> None:
    draw = random.Random(2)
    order, keys = Sorted(), {}  # type: tuple[Sorted, dict[int, tuple[int, int]]]
    for number in range(600):
        order.place(number, at := draw.randrange(50))
        keys[number] = (at, number)
        if number % 3 == 0:
            gone = draw.choice(list(keys))
            order.remove(gone)
            del keys[gone]
        if number % 5 == 0:
            moved = {request: (draw.randrange(50), request) for request in draw.sample(list(keys), len(keys) // 3)}
            order.replace(moved)
            keys.update(moved)
        expected = [request for _, request in sorted(keys.values())]
        assert list(order) == expected
        assert list(reversed(order)) == expected[::-1]
        assert order.keys == keys


def test_those_outside_are_found_by_what_they_need() -> None:
    outside = Outside()
    for request, need in enumerate([3, 1, 2, 3]):
        outside.add(request, need)
    assert sorted(outside.below(3)) == [1, 2]
    outside.discard(1)
    outside.discard(1)
    assert sorted(outside.below(4)) == [0, 2, 3]
    assert list(outside.below(0)) == []
