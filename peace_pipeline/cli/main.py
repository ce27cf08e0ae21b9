"""What ``peace`` starts. Interrupts are answered before anything else is imported."""

from peace_pipeline.interrupts import answered


def main() -> None:
    """Run the command line."""
    with answered():
        from peace_pipeline.cli.app import app

        app()
