"""The whole system while its parts are killed at random: `python -m tests.chaos --help`."""
