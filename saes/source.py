"""Which SAE a config means: a folder, or one of a published release."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from pydantic import model_serializer, model_validator

from interp.errors import UserError
from interp.fields import Flag, PathText, Section, Word
from interp.subject.folder import SubjectInfo
from interp.subject.model_names import same_model, subject_names
from interp.subject.site import Site, SiteName
from interp.subject.subject import Subject
from saes.download import check_available
from saes.load import Latents, SaeDtype, load, load_release
from saes.release import find_release, parse_release


class SaeConfig(Section):
    """One SAE: a folder or RELEASE/SAE_ID, or a mapping that says more."""

    folder: PathText | None = None
    """A folder in SAELens' format, or RELEASE/SAE_ID; or give release and id."""
    release: PathText | None = None
    """A release of SAELens' registry, or a repository ORG/REPO with SAEs in SAELens' format."""
    id: PathText | None = None
    """Which SAE of the release."""
    site: SiteName | None = None
    """The site it was trained at, KIND.LAYER, for an SAE whose metadata does not say."""
    name: Word | None = None
    """What the feature space is called; needed to tell two SAEs of one site apart."""
    check_model: Flag = True
    """Whether it must have been trained on a model of the subject's name; false for a renamed copy."""
    dtype: SaeDtype | None = None
    """Float type of its weights: as saved if left out, float32 for a release."""

    @model_validator(mode="after")
    def _one_place(self) -> "SaeConfig":
        if (self.folder is None) == (self.release is None) or (self.release is None) != (self.id is None):
            raise ValueError("give either folder, or release and id")
        return self

    @model_validator(mode="before")
    @classmethod
    def _from_text(cls, value: Any) -> Any:
        """Takes a folder, or RELEASE/SAE_ID, in place of a mapping."""
        return {"folder": str(value)} if isinstance(value, str | Path) else value

    @model_serializer(mode="wrap")
    def _as_text(self, whole: Callable[["SaeConfig"], Any]) -> Any:
        return str(self) if self.model_fields_set == {"folder"} else whole(self)

    def __str__(self) -> str:
        return self.folder or f"{self.release}/{self.id}"

    def check(self, info: SubjectInfo, field: str = "saes") -> None:
        """Finds what can be wrong before anything is read, written or downloaded.

        Raises:
            UserError: there is no such folder, release or id; the release is for another model; the site is
                not one of the subject's; the files are not in the cache and the hub cannot be reached.
        """
        if self.site is not None:
            info.site_width(Site.parse(self.site))
        if self.release is not None and self.id is not None:
            found = find_release(self.release, self.id)
        elif Path(str(self)).expanduser().is_dir():
            return
        else:
            found = parse_release(str(self))
        if self.check_model and found.model and not _trained_on(found.model, info):
            raise UserError(
                f"the SAEs of {found.release} were trained on {found.model}, not on {info.name}",
                field,
                f"load {found.model}, or set check_model: false if it is the same model under another name",
            )
        check_available(found)

    def open(self, subject: Subject) -> Latents:
        """Loads the SAE as a feature space.

        Raises:
            UserError: as `saes.load`.
        """
        if self.release is not None and self.id is not None:
            loaded = partial(load_release, subject, self.release, self.id)
        else:
            loaded = partial(load, subject, str(self))
        site = Site.parse(self.site) if self.site else None
        return loaded(site=site, name=self.name, check_model=self.check_model, dtype=self.dtype)


def _trained_on(model: str, info: SubjectInfo) -> bool:
    """Whether a model is the subject up to `-it`: the registry may name the base model of a tuned one."""
    return any(
        same_model(model.removesuffix("-it"), name.removesuffix("-it")) for name in subject_names(info)
    )
