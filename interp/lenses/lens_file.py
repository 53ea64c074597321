"""Trained lenses as safetensors files, each with its kind and the name of its model."""

from pathlib import Path

from interp.errors import UserError
from interp.lenses.jacobian_lens import JacobianLens
from interp.lenses.logit_lens import Lens, LogitLens
from interp.lenses.trained_lens import TrainedLens
from interp.lenses.tuned_lens import TunedLens
from interp.subject.model_names import check_made_for
from interp.subject.subject import Subject
from interp.tensors import check_finite
from interp.track.files import read_safetensors, write_safetensors

KINDS: dict[str, type[TrainedLens]] = {kind.format: kind for kind in (TunedLens, JacobianLens)}
"""Lenses by the `format` of their files."""


def save_lens(path: str | Path, lens: TrainedLens) -> Path:
    """Writes a tuned or Jacobian lens as safetensors, with the name of its model and what it was made of."""
    tensors = {name: value.detach().contiguous().cpu() for name, value in lens.state_dict().items()}
    write_safetensors(path, tensors, lens.metadata())
    return Path(path)


def load_lens(path: str | Path, subject: Subject, check_model: bool = True) -> TrainedLens:
    """Reads a lens; `check_model=False` accepts one made for a model of another name (a renamed copy).

    Raises:
        UserError: there is no such file, it holds something else, or it is another model's.
    """
    found, known = read_safetensors(path)
    kind = KINDS.get(known.get("format", ""))
    lens = None if kind is None else kind.for_file(subject, known, str(path))
    wanted = None if lens is None else {name: value.shape for name, value in lens.state_dict().items()}
    if lens is None or {name: value.shape for name, value in found.items()} != wanted:
        raise UserError(
            f"the file holds no lens that fits {subject.name}", str(path), "train one on this model"
        )
    if check_model:
        made = f"the {lens.name} was trained"
        check_made_for(made, [known.get("subject", "")], subject.info, str(path))
    check_finite(found, str(path), "train it again")
    lens.load_state_dict(found)
    return lens.requires_grad_(False)


def open_lens(file: Path | None, subject: Subject, check_model: bool) -> Lens:
    """Reads a trained lens from its file; without a file, returns the logit lens."""
    return LogitLens(subject) if file is None else load_lens(file, subject, check_model)


def check_lens(file: Path | None) -> None:
    """Raises UserError if the file is not there."""
    if file is not None and not file.is_file():
        raise UserError(
            f"no file {file}", "tuned_lens", "give one that `interp run configs/logit_lens.yaml` wrote"
        )
