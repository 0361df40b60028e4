"""Your own models: what is counted beside the models that this package knows.

Any model of the API with an account, a time and a table can be counted. Declare it here, deploy,
and count what is there already (docs/adding-a-record-type.md). The declarations are checked when
the package is imported; `make attach` compares them with the application.
"""

from aggregated_metrics.core.declarations import Declaration

OWN_MODELS: tuple[Declaration, ...] = ()
