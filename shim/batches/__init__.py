"""Bursts: calls of a task that arrive together run together, in one flow run over all of them.

Each call stays a call of its own: id, state, result, retries, handlers. `contract` is what a task declares; `flow` runs
in the run's process; `collector`, `creation`, `answers` and `following` are the worker's side; `membership` is what
workers know of each other's batches.
"""
