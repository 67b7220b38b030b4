"""faiss and usearch at exact search, in a process of the peers' environment: one JSON line a request on stdin.

It imports nothing of this project, which is not installed there.
"""

from __future__ import annotations

import importlib
import json
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

RESCORED = 200
"""Vectors that usearch's 8-bit copies choose, of which the exact products decide."""


def copied(vectors: NDArray[np.float32]) -> NDArray[np.int8]:
    """In 8 bits, each vector scaled so that its largest number is 127."""
    return np.asarray(np.rint(vectors * (127 / np.abs(vectors).max(axis=1, keepdims=True))), np.int8)


def methods(vectors: NDArray[np.float32]) -> dict[str, Callable[[NDArray[np.float32], int], Any]]:
    """Name -> a function of queries and k that gives the places of the best."""
    found: dict[str, Callable[[NDArray[np.float32], int], Any]] = {}
    try:
        faiss: Any = importlib.import_module("faiss")
        flat = faiss.IndexFlatIP(vectors.shape[1])
        flat.add(vectors)
        found["faiss-flat"] = lambda queries, k: flat.search(queries, k)[1]
    except ImportError:
        pass
    try:
        usearch: Any = importlib.import_module("usearch.index")
        kinds, search = usearch.MetricKind, usearch.search

        def exact(queries: NDArray[np.float32], k: int) -> Any:
            return np.stack([search(vectors, query, k, kinds.IP, exact=True).keys for query in queries])

        copies = np.concatenate([copied(vectors[start : start + 8192]) for start in range(0, len(vectors), 8192)])

        def rescored(queries: NDArray[np.float32], k: int) -> Any:
            places = []
            for query in queries:
                some = search(copies, copied(query[None])[0], RESCORED, kinds.Cos, exact=True).keys.astype(int)
                places.append(some[np.argsort(-(vectors[some] @ query))[:k]])
            return np.stack(places)

        found |= {"usearch, float32": exact, "usearch, 8 bits, rescored": rescored}
    except ImportError:
        pass
    return found


def main() -> None:
    """Answer until stdin ends."""
    vectors = np.load(sys.argv[1])
    found = methods(vectors)
    print(json.dumps(sorted(found)), flush=True)
    for line in sys.stdin:
        request = json.loads(line)
        queries = np.array(request["queries"], np.float32)
        began = time.perf_counter()
        places = found[request["method"]](queries, request["k"])
        seconds = time.perf_counter() - began
        print(json.dumps({"seconds": seconds, "places": np.asarray(places).tolist()}), flush=True)


if __name__ == "__main__":
    main()
