"""Which lens an experiment reads through."""

from pathlib import Path

from interp.errors import UserError
from interp.lenses.logit_lens import Lens, LogitLens
from interp.lenses.tuned_lens_file import load_tuned_lens
from interp.subject import Subject


def open_lens(file: Path | None, subject: Subject, check_model: bool) -> Lens:
    """A tuned lens from its file, or the logit lens without one."""
    return LogitLens(subject) if file is None else load_tuned_lens(file, subject, check_model)


def check_lens(file: Path | None) -> None:
    """Raises UserError if the file is not there."""
    if file is not None and not file.is_file():
        raise UserError(
            f"no file {file}", "tuned_lens", "give one that `interp run configs/logit_lens.yaml` wrote"
        )
