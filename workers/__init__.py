"""The suite's Prefect worker: each run is a child of a warm process, so that it starts at once and dies alone."""
