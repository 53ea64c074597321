"""The command line in this process: starting another for every message would take ten seconds each."""

from click.testing import Result
from typer.testing import CliRunner

from interp.cli import app


def command(*arguments: str) -> Result:
    """What `interp` with these arguments does and prints."""
    return CliRunner().invoke(app, arguments)
