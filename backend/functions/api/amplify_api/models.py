"""The models of schema.graphql and their indexes: the one place that names them.

The order of a model's indexes matters: Amplify demands the parts of composite sort keys index by
index, and a client sees the first demand that is not met. template.yaml declares the same indexes
on the tables; a contract test holds the two together.
"""

from dataclasses import dataclass


def _camel(names: tuple[str, ...]) -> str:
    first, *rest = names
    return first + "".join(name[0].upper() + name[1:] for name in rest)


def _listed(names: tuple[str, ...]) -> str:
    return "And".join(name[0].upper() + name[1:] for name in names)


@dataclass(frozen=True, slots=True)
class Index:
    """A global secondary index as Amplify lays it out.

    Attributes:
        hash_key: the attribute of the partition key.
        sort: the fields of the sort key; more than one make a composite key.
        named: the name in the model's definition; empty for Amplify's own name.
    """

    hash_key: str
    sort: tuple[str, ...] = ()
    named: str = ""

    @property
    def composite(self) -> bool:
        """Whether the sort key is put together from several fields."""
        return len(self.sort) > 1

    @property
    def sort_attribute(self) -> str:
        """The table's attribute of the sort key, such as `status#updatedAt`; empty for none."""
        return "#".join(self.sort)

    @property
    def sort_argument(self) -> str:
        """The query's argument for the sort key, such as `statusUpdatedAt`; empty for none."""
        return _camel(self.sort) if self.sort else ""


@dataclass(frozen=True, slots=True)
class Model:
    """A type with a table of its own.

    Attributes:
        name: the type, and the first part of its table's name.
        plural: as in the name of the query that lists it.
        indexes: in the order of the model's definition.
        json_fields: the fields of type AWSJSON, stored as what the text says.
        hash_key: the table's partition key.
        sort_key: the table's sort key; empty for none.
    """

    name: str
    plural: str
    indexes: tuple[Index, ...]
    json_fields: frozenset[str]
    hash_key: str = "id"
    sort_key: str = ""

    @property
    def key(self) -> tuple[str, ...]:
        """The attributes of the table's primary key."""
        return (self.hash_key, self.sort_key) if self.sort_key else (self.hash_key,)

    def index_name(self, index: Index) -> str:
        """The index's name on the table."""
        own = f"{self.plural[0].lower()}{self.plural[1:]}"
        return index.named or f"{own}By{_listed((index.hash_key, *index.sort))}"

    def index_query(self, index: Index) -> str:
        """The field of Query that reads the index."""
        return f"list{self.name}By{_listed((index.hash_key, *index.sort))}"


ITEM = Model(
    "Item",
    "Items",
    indexes=(
        Index("accountId", ("updatedAt",)),
        Index("accountId", ("createdAt",)),
        Index("accountId", ("externalId",)),
        Index("scoreId", ("updatedAt",)),
        Index("scoreId", ("createdAt",)),
    ),
    json_fields=frozenset({"identifiers", "metadata"}),
)

SCORE_RESULT = Model(
    "ScoreResult",
    "ScoreResults",
    indexes=(
        Index("type", ("status", "updatedAt"), "byTypeStatusUpdated"),
        Index("itemId"),
        Index("itemId", ("scorecardId", "scoreId"), "byItemScorecardScore"),
        Index("itemId", ("type", "scoreId", "updatedAt"), "byItemIdAndTypeAndScoreIdAndUpdatedAt"),
        Index("accountId", ("updatedAt",)),
        Index("scoringJobId"),
        Index("evaluationId"),
        Index("scorecardId", ("updatedAt",)),
        Index("scorecardId", ("itemId", "createdAt"), "byScorecardItemAndCreatedAt"),
        Index("scorecardId", ("scoreId", "itemId"), "byScorecardScoreItem"),
        Index("scoreVersionId"),
        Index("scoreId"),
    ),
    json_fields=frozenset({"metadata", "trace", "cost"}),
)

TASK = Model(
    "Task",
    "Tasks",
    indexes=(
        Index("accountId", ("updatedAt",)),
        Index("scorecardId", ("updatedAt",)),
        Index("scoreId"),
    ),
    json_fields=frozenset({"metadata", "errorDetails"}),
)

EVALUATION = Model(
    "Evaluation",
    "Evaluations",
    indexes=(
        Index("accountId", ("updatedAt",)),
        Index("scorecardId", ("updatedAt",)),
        Index("scoreId", ("updatedAt",)),
        Index("scoreVersionId", ("createdAt",)),
    ),
    json_fields=frozenset({"parameters", "metrics"}),
)

FEEDBACK_ITEM = Model(
    "FeedbackItem",
    "FeedbackItems",
    indexes=(
        Index("accountId", ("updatedAt",)),
        Index("accountId", ("editedAt",)),
        Index(
            "accountId", ("scorecardId", "scoreId", "updatedAt"), "byAccountScorecardScoreUpdatedAt"
        ),
        Index(
            "accountId", ("scorecardId", "scoreId", "editedAt"), "byAccountScorecardScoreEditedAt"
        ),
        Index("cacheKey"),
        Index("itemId"),
    ),
    json_fields=frozenset({"metadata"}),
)

PROCEDURE = Model(
    "Procedure",
    "Procedures",
    indexes=(
        Index("accountId", ("updatedAt",)),
        Index("accountId", ("createdAt",)),
    ),
    json_fields=frozenset({"metadata"}),
)

CHAT_SESSION = Model(
    "ChatSession",
    "ChatSessions",
    indexes=(
        Index("accountId", ("updatedAt",)),
        Index("procedureId", ("createdAt",)),
    ),
    json_fields=frozenset({"metadata"}),
)

CHAT_MESSAGE = Model(
    "ChatMessage",
    "ChatMessages",
    indexes=(
        Index("accountId", ("createdAt",)),
        Index("sessionId", ("createdAt",)),
    ),
    json_fields=frozenset({"metadata"}),
)

AGGREGATED_METRICS = Model(
    "AggregatedMetrics",
    "AggregatedMetrics",
    indexes=(
        Index("accountId", ("timeRangeStart", "recordType"), "byAccountTimeRangeRecord"),
        Index("accountId", ("recordType", "timeRangeStart"), "byAccountRecordType"),
        Index("scorecardId", ("timeRangeStart", "recordType"), "byScorecardTimeRangeRecord"),
        Index("scoreId", ("timeRangeStart", "recordType"), "byScoreTimeRangeRecord"),
    ),
    json_fields=frozenset({"metadata"}),
    hash_key="accountId",
    sort_key="compositeKey",
)

MODELS = (
    ITEM,
    SCORE_RESULT,
    TASK,
    EVALUATION,
    FEEDBACK_ITEM,
    PROCEDURE,
    CHAT_SESSION,
    CHAT_MESSAGE,
    AGGREGATED_METRICS,
)
