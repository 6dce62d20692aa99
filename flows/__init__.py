"""The Prefect flows, one module for each family of jobs, and what they share."""
