"""`aggregated-metrics`, or `python -m aggregated_metrics_cli`."""

import sys


def run() -> None:
    """The console script."""
    try:
        from aggregated_metrics_cli.main import main  # noqa: PLC0415 - needs what may be missing
    except ModuleNotFoundError as error:
        sys.stderr.write(
            f"aggregated-metrics: {error.name} is not installed: run `make sync`, or pip install "
            "rich tomlkit graphql-core vl-convert-python\n"
        )
        sys.exit(2)
    sys.exit(main(sys.argv[1:]))


if __name__ == "__main__":
    run()
