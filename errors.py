"""The suite's errors: one tree, and every message says what happened, to what, and what to do.

A message names the thing and its value, never a secret. Callers catch the branch they can handle:

    SuiteError
    |-- SettingsError            a setting is missing or wrong
    |-- DatabaseError            a database did not do what was asked
    |   |-- DatabaseUnreachable  no connection: host, port, name, account
    |   |-- AccessDenied         the account is not let in, or lacks a right
    |   |-- EncryptionRefused    no encryption, or a certificate that is not trusted
    |   |-- StatementInterrupted ended for a reason that passes: deadlock, failover, time
    |   `-- SchemaMismatch       a table or column is not as the suite needs it
    |-- SourceError              an HRIS or BioStar is not as its mapping says
    |   |-- MappingError         the mapping file itself is wrong
    |   `-- SourceColumnMissing  the mapping names what the source does not have
    |-- ReplicationRefused       the source looks broken; nothing was changed
    |   |-- SourceEmpty
    |   |-- SourceShrunken
    |   `-- TooManyRejected
    |-- AlreadyRunning           another run holds what this one needs
    |-- InvalidArgument          a caller's value cannot be used; nothing was done
    |-- MailServerUnreachable    no connection, or the server does not let us in
    `-- NotFound                 a row that was named does not exist
"""

from typing import Any


class SuiteError(Exception):
    """Base of every error that this suite raises on purpose."""


class SettingsError(SuiteError):
    """A setting is missing or has a value that cannot be used."""


class DatabaseError(SuiteError):
    """A database did not do what was asked of it."""


class DatabaseUnreachable(DatabaseError):
    """No connection could be made, or it was lost."""


class AccessDenied(DatabaseError):
    """A server does not let the account in, or the account lacks a right; trying again does not help."""


class EncryptionRefused(DatabaseError):
    """A connection cannot be encrypted as wanted, or the server's certificate is not trusted."""


class StatementInterrupted(DatabaseError):
    """A server ended a statement for a reason that passes; the same statement may go through later."""


class SchemaMismatch(DatabaseError):
    """A table or a column is missing or has another type than the suite needs."""


class SourceError(SuiteError):
    """A source system is not as its mapping describes it."""


class MappingError(SourceError):
    """A mapping file cannot be read or does not say all that is needed."""


class SourceColumnMissing(SourceError):
    """The source has no table or column of the name that the mapping gives."""


class ReplicationRefused(SuiteError):
    """The source looks broken, so the replication changed nothing.

    Args:
        message: What looks broken, and how to allow it once.
        details: What was found, as plain data for a log.
    """

    def __init__(self, message: str, details: dict[str, Any] | None = None) -> None:
        super().__init__(message)
        self.details = details or {}


class SourceEmpty(ReplicationRefused):
    """A source table that must hold rows holds none."""


class SourceShrunken(ReplicationRefused):
    """The run would deactivate more rows than the set share allows."""


class TooManyRejected(ReplicationRefused):
    """More source rows cannot be taken than the set share allows."""


class AlreadyRunning(SuiteError):
    """Another run holds what this one needs."""


class NotFound(SuiteError):
    """A row that a caller named does not exist."""


class InvalidArgument(SuiteError, ValueError):
    """A caller passed a value that cannot be used; nothing was written and nothing was sent."""


class MailServerUnreachable(SuiteError):
    """The mail server does not answer, or does not let us in."""
