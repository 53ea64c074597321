"""Which SAE a config means: a folder, or one of a published release."""

from pathlib import Path
from typing import Annotated

from pydantic import Field, model_validator

from interp.errors import UserError
from interp.fields import FilePath, Flag, PathText, Section, Word
from interp.subject.folder import SubjectInfo
from interp.subject.model_names import same_model, subject_names
from interp.subject.site import Site, SiteName
from interp.subject.subject import Subject
from saes.download import check_available
from saes.load import Latents, SaeDtype, load, load_release
from saes.release import Release, find_release, parse_release


class SaeConfig(Section):
    """One SAE, with what a plain folder or RELEASE/SAE_ID cannot say."""

    folder: FilePath | None = None
    """A folder in SAELens' format; or give release and id."""
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


SaeSource = Annotated[PathText | FilePath | SaeConfig, Field(union_mode="left_to_right")]
"""A folder, RELEASE/SAE_ID, or a mapping that says more."""


def check_sae(source: str | Path | SaeConfig, info: SubjectInfo, place: str = "saes") -> None:
    """Finds what can be wrong before anything is read, written or downloaded.

    Raises:
        UserError: there is no such folder, release or id; the release is for another model; the site is not
            one of the subject's; the files are not in the cache and the hub cannot be reached.
    """
    config = source if isinstance(source, SaeConfig) else None
    if config is not None and config.site is not None:
        info.site_width(Site.parse(config.site))
    found = _release_of(source)
    if found is None:
        return
    checked = config is None or config.check_model
    if checked and found.model and not any(_related(found.model, name) for name in subject_names(info)):
        raise UserError(
            f"the SAEs of {found.release} were trained on {found.model}, not on {info.name}",
            place,
            f"load {found.model}, or set check_model: false if it is the same model under another name",
        )
    check_available(found)


def open_sae(source: str | Path | SaeConfig, subject: Subject) -> Latents:
    """Loads the SAE as a feature space.

    Raises:
        UserError: as `saes.load`.
    """
    if not isinstance(source, SaeConfig):
        return load(subject, source)
    site = Site.parse(source.site) if source.site else None
    if source.release is not None and source.id is not None:
        return load_release(
            subject,
            source.release,
            source.id,
            site=site,
            name=source.name,
            check_model=source.check_model,
            dtype=source.dtype or "float32",
        )
    assert source.folder is not None
    return load(
        subject,
        source.folder,
        site=site,
        name=source.name,
        check_model=source.check_model,
        dtype=source.dtype,
    )


def _related(one: str, other: str) -> bool:
    """Whether two model names are equal up to `-it`: the registry may name the base model of a tuned one."""
    return same_model(one.removesuffix("-it"), other.removesuffix("-it"))


def _release_of(source: str | Path | SaeConfig) -> Release | None:
    """The release, or None for an existing folder."""
    if isinstance(source, SaeConfig):
        if source.release is not None and source.id is not None:
            return find_release(source.release, source.id)
        source = source.folder or Path()
    return None if Path(source).expanduser().is_dir() else parse_release(str(source))
