"""Where tasks run: this process, local Dask workers, a running scheduler, jobs of a cluster."""
