"""The shim's errors. They stand apart from the suite's because callers carry the shim without the suite."""


class ShimError(Exception):
    """Base of every error that the shim raises on purpose."""


class SignatureMismatch(ShimError):
    """A flow function does not take the arguments that its task promises to callers."""


class FlowMissing(ShimError):
    """The flow that a task names cannot be imported or is not a flow of that task."""


class DeploymentMissing(ShimError):
    """Prefect's server has no deployment that runs a task's flow."""


class ArgumentInvalid(ShimError, TypeError):
    """A task was called with a value that its signature does not allow."""


class RunFailed(ShimError):
    """A flow run ended without an answer of its task; carries what Prefect said about it."""
