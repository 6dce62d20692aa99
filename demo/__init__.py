"""Systems to try the suite on: a sample HRIS, a private Prefect server with a worker, and the demonstration itself."""
