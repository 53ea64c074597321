"""The model under study of a run, and what the run's manifest says of it."""

from dataclasses import asdict

from interp.subject import Subject, load
from interp.subject.config import SubjectConfig
from interp.track.run import Run


def open_subject(config: SubjectConfig, run: Run) -> Subject:
    """Loads it, and keeps in the manifest which backend it runs on and how far that is from `transformers`.

    Raises:
        UserError: as `interp.load`.
    """
    subject = load(**config.model_dump())
    assert subject.gap is not None
    run.note(
        "subjects",
        {
            "name": subject.name,
            "architecture": subject.info.architecture,
            "backend": subject.backend,
            "device": str(subject.device),
            "dtype": str(subject.dtype).removeprefix("torch."),
            "processing": subject.processing,
            "gap": asdict(subject.gap),
        },
    )
    return subject
