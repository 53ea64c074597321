"""A tuned lens on disk: one safetensors file."""

from pathlib import Path

from interp.errors import UserError
from interp.lenses.tuned_lens import TunedLens
from interp.subject.model_names import check_made_for
from interp.subject.subject import Subject
from interp.tensors import check_finite
from interp.track.files import read_safetensors, write_safetensors

FORMAT = "interp tuned lens 1"


def save_tuned_lens(path: str | Path, lens: TunedLens) -> Path:
    """Writes a lens, with the name of the model that it belongs to."""
    tensors = {name: value.detach().contiguous().cpu() for name, value in lens.state_dict().items()}
    write_safetensors(path, tensors, {"format": FORMAT, "subject": lens.subject.name})
    return Path(path)


def load_tuned_lens(path: str | Path, subject: Subject, check_model: bool = True) -> TunedLens:
    """A lens from its file; `check_model=False` takes one of a model of another name (a renamed copy).

    Raises:
        UserError: there is no such file, it holds something else, or it is another model's.
    """
    lens = TunedLens(subject)
    found, known = read_safetensors(path)
    wanted = {name: value.shape for name, value in lens.state_dict().items()}
    if known.get("format") != FORMAT or {name: value.shape for name, value in found.items()} != wanted:
        raise UserError(
            f"the file holds no tuned lens that fits {subject.name}", str(path), "train one on this model"
        )
    if check_model:
        check_made_for("the tuned lens was trained", [known.get("subject", "")], subject.info, str(path))
    check_finite(found, str(path), "train it again")
    lens.load_state_dict(found)
    return lens.requires_grad_(False)
