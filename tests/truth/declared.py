"""Imported before everything else in a worker: the layer that it has declares a further model."""

from aggregated_metrics.core import own_models

from testbench import reviews

own_models.OWN_MODELS = (reviews.declaration(),)
