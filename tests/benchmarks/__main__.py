"""All benchmarks, one after the other: `python -m tests.benchmarks`."""

from tests.benchmarks import bench_decoding, bench_encoding, bench_reading, bench_retrieval

for benchmark in (bench_reading, bench_decoding, bench_encoding, bench_retrieval):
    benchmark.main()
