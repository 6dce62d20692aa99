"""How tasks fail."""


class PermanentFailure(Exception):
    """The task fails in the same way until somebody acts: a password, a right, a table or a setting is wrong.

    It is not retried. The message says what to do.
    """
