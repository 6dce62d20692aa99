"""The wheel that callers install: the tasks and the shim, without the suite that runs them."""
