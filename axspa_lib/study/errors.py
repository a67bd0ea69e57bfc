"""Errors for users: one sentence that names the thing and the remedy."""


class AxspaError(Exception):
    """Base of every error that is the input's fault; the command line and a notebook show it without a traceback."""

    def _render_traceback_(self) -> list[str]:
        """Show one sentence in place of the traceback (IPython)."""
        return [f"{type(self).__name__}: {self}"]


class ConfigError(AxspaError):
    """An unknown parameter, a value out of range, or parameters that contradict each other."""


class DataError(AxspaError):
    """A file, series or table that cannot be used; the message names the file, the patient and what to do."""


class MissingResultError(AxspaError):
    """A result of an earlier stage that has not been computed; the message names the command that makes it."""
