"""The base of every error that this project raises on purpose."""


class RecsysError(Exception):
    """Something a person or a caller can act on: the message says what is wrong, where, and what is allowed.

    Programming errors (wrong types, broken invariants) stay ``TypeError``, ``ValueError`` and ``AssertionError``. The
    command line prints a ``RecsysError`` as one sentence and exits with status 2; anything else is a traceback.

    Args:
        message: one sentence without a final full stop.
        remedy: what to do next, where the message does not say it yet; shown behind a semicolon.
    """

    def __init__(self, *message: object, remedy: str = "") -> None:
        super().__init__(*message)
        self.remedy = remedy

    def __str__(self) -> str:
        message = super().__str__()
        return f"{message}; {self.remedy}" if self.remedy else message
