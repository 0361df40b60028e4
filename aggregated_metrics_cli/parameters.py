"""How template.yaml's parameters are named."""

from aggregated_metrics.core.record_types import own_models

OWN_SLOTS = 6
"""How many models of your own template.yaml has room for: each is a parameter and a mapping."""


def stream_parameter(model: str) -> str:
    """The parameter that takes the ARN of a model's stream; own_models are numbered."""
    own = own_models()
    return f"Own{own.index(model) + 1}StreamArn" if model in own else f"{model}StreamArn"
