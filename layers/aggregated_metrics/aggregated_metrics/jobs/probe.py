"""What bucket_sweeper looks at beside the hours: whether every stream is still being read."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

from aggregated_metrics.adapters.consumers import Consumers, table_of
from aggregated_metrics.adapters.observability import Report

EVERY_SECONDS = 100.0
"""A look every second sweep: template.yaml's alarms have at least two in each of their periods."""


@dataclass(frozen=True, slots=True)
class Probe:
    """Asks now and then; every port is an argument.

    Attributes:
        consumers: who reads the streams.
        streams: ARNs of the streams that the stack was deployed with.
        clock: the time now, aware.
        looked: epoch seconds of this process's last look, as `{"at": …}`; kept by the process.
    """

    consumers: Consumers
    streams: Sequence[str]
    clock: Callable[[], datetime]
    looked: dict[str, float]

    def look(self) -> Report:
        """What to report: streams that nobody reads, or that are not their table's any more.

        Nothing where the last look was a moment ago. Without streams both are zero.

        Raises:
            ConsumersError: AWS did not answer; the alarms then miss their data, which is an alarm.
        """
        now = self.clock().timestamp()
        if now - self.looked.get("at", 0.0) < EVERY_SECONDS:
            return {}
        troubles = self.consumers.troubles(self.streams) if self.streams else {}
        replaced = self.consumers.replaced(self.streams)
        report: Report = {
            "stoppedConsumers": len(troubles),
            "replacedStreams": len(replaced),
        }
        if troubles or replaced:
            report["streams"] = [
                {
                    "table": table_of(stream),
                    "consumer": troubles.get(stream, "Enabled"),
                    "latestStream": replaced.get(stream, stream).rpartition("/")[2],
                }
                for stream in sorted({*troubles, *replaced})
            ]
        self.looked["at"] = now
        return report
