"""What a resolver refuses, in AppSync's words.

ResolverError           any refusal; AppSync puts it at the field's path
└─ InvalidArgumentsError    arguments of a list that do not go together
"""


class ResolverError(Exception):
    """A refusal that the client sees as an entry of the answer's `errors`.

    Attributes:
        message: the text of the error.
        error_type: AppSync's `errorType`, such as `DynamoDB:ConditionalCheckFailedException`;
            None where Amplify's templates give none.
    """

    def __init__(self, message: str, error_type: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.error_type = error_type


class InvalidArgumentsError(ResolverError):
    """Arguments of a list query that Amplify's templates refuse."""

    def __init__(self, message: str) -> None:
        super().__init__(message, "InvalidArgumentsError")
