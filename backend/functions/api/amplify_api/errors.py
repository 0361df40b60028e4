"""What a resolver refuses, in AppSync's words."""


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


def invalid_arguments(message: str) -> ResolverError:
    """The refusal of a list query's arguments by Amplify's templates."""
    return ResolverError(message, "InvalidArgumentsError")


def dynamodb_refusal(code: str, message: str, request_id: str, status: int = 400) -> ResolverError:
    """A refusal by DynamoDB, as AppSync words it."""
    service = f"Service: DynamoDb, Status Code: {status}, Request ID: {request_id}"
    return ResolverError(f"{message} ({service})", f"DynamoDB:{code}")
