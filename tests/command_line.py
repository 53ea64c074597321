"""The command line, in this process or in one of its own that need not import everything first."""

import atexit
import multiprocessing
import os
import resource
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from subprocess import CompletedProcess
from tempfile import TemporaryDirectory

from click.testing import Result
from typer.testing import CliRunner

import experiments
from interp.cli import app, main

PRELOADED = (
    "interp.subject.bridge",
    "interp.subject.hooked",
    "transformers.models.llama.modeling_llama",
    "experiments.quickstart.job",
    "experiments.steering_vectors.job",
    "sae_lens",
    "wandb",
)
"""What runs import, and what takes longest of it."""


@contextmanager
def largest_file(most_bytes: int) -> Iterator[None]:
    """Lets this process and those that it starts write no longer files, as on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (most_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def command(*arguments: str) -> Result:
    """What `interp` with these arguments does and prints, in this process: every call's types are checked."""
    return CliRunner().invoke(app, arguments)


def process(
    *arguments: str,
    timeout: float = 600,
    folder: Path | None = None,
    environment: Mapping[str, str] | None = None,
) -> CompletedProcess[str]:
    """The same in a process of its own, as a person starts it: nothing is checked that takes time there.

    It is forked from one that has imported everything, which saves six seconds each. `folder` and
    `environment` are that process's, this one's if None.
    """
    state = folder or Path.cwd(), dict(os.environ if environment is None else environment)
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([*PRELOADED])
    with TemporaryDirectory() as outputs:
        texts = [os.path.join(outputs, name) for name in ("out", "err")]
        started = context.Process(target=_interp, args=(arguments, *texts, *state))
        started.start()
        started.join(timeout)
        if started.exitcode is None:
            started.kill()
            started.join()
        out, err = (Path(text).read_text(encoding="utf-8") for text in texts)
    assert started.exitcode is not None
    return CompletedProcess(arguments, started.exitcode, out, err)


def _interp(
    arguments: tuple[str, ...], out: str, err: str, folder: Path, environment: dict[str, str]
) -> None:
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    own = environment.get("INTERP_EXPERIMENTS_PATH", "").split(os.pathsep)
    experiments.__path__ += filter(None, own)  # `experiments` was imported before this was known
    for number, file in ((1, out), (2, err)):
        os.dup2(os.open(file, os.O_WRONLY | os.O_CREAT), number)
    os.environ.pop(
        "WANDB_SERVICE", None
    )  # of the test's own process: this one waits for a service of its own
    sys.argv = ["interp", *arguments]
    try:
        main()
    finally:
        atexit._run_exitfuncs()
