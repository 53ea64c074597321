"""Published SAEs by name: SAELens' registry, which files a release consists of, and what fits a model."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

from sae_lens.loading.pretrained_saes_directory import PretrainedSAELookup, get_pretrained_saes_directory

from interp.errors import UserError, similar_names
from interp.subject.folder import SubjectInfo
from interp.subject.model_names import same_model, subject_names
from interp.subject.subject import Subject

Files = Callable[[str], tuple[str, ...]]


@dataclass(frozen=True)
class Format:
    """Which files an SAE of one format has in its repository, given its path in the registry.

    `optional` files may be missing. `processing` is the weight processing of the model where the format
    itself says it: SAEs of `dictionary_learning` and of model vendors are trained on `transformers`' own
    models. `refused` says why such SAEs are not loaded at all.
    """

    files: Files
    optional: Files = lambda path: ()
    processing: str | None = None
    refused: str | None = None


_TRANSCODERS = "they are transcoders of the MLP's normed input, which is no site here"
FORMATS: dict[str, Format] = {
    "sae_lens": Format(
        lambda path: (f"{path}/cfg.json", f"{path}/sae_weights.safetensors"),
        lambda path: (f"{path}/sparsity.safetensors",),
    ),
    "gemma_2": Format(lambda path: (f"{path}/params.npz",), processing="none"),
    "gemma_3": Format(
        lambda path: (f"{path}/params.safetensors",),
        lambda path: (f"{path}/config.json",),
        processing="none",
    ),
    "llama_scope": Format(
        lambda path: (f"{path}/hyperparams.json", f"{path}/checkpoints/final.safetensors"), processing="none"
    ),
    "llama_scope_r1_distill": Format(
        lambda path: (f"{path}/config.json", f"{path}/sae_weights.safetensors"), processing="none"
    ),
    "dictionary_learning_1": Format(lambda path: (f"{path}/config.json", f"{path}/ae.pt"), processing="none"),
    # Trained on `HookedTransformer.from_pretrained("gpt2-small")`, whose default folds the value biases.
    "connor_rob_hook_z": Format(lambda path: (path.split(".pt")[0] + "_cfg.json", path), processing="fold"),
    "deepseek_r1": Format(lambda path: (path,), processing="none"),
    "qwen_scope": Format(lambda path: (path,), processing="none"),
    "goodfire": Format(lambda path: (path,), processing="none"),
    "gemma_2_transcoder": Format(lambda path: (f"{path}/params.npz",), refused=_TRANSCODERS),
    "mwhanna_transcoder": Format(lambda path: (path,), refused=_TRANSCODERS),
    "mntss_clt_layer_transcoder": Format(
        lambda path: (), refused=f"{_TRANSCODERS}; SAELens adds up their several decoders"
    ),
    "temporal": Format(
        lambda path: (f"{path}/conf.yaml", f"{path}/latest_ckpt.safetensors"),
        refused="a latent of theirs depends on the tokens before, so that it is no feature of one activation",
    ),
}


@dataclass(frozen=True)
class Release:
    """One published SAE: its names in the registry, its place on the hub, and the model it is for.

    `model` is None for a repository that the registry does not have.
    """

    release: str
    sae_id: str
    repo: str
    path: str
    model: str | None
    format: Format

    def __str__(self) -> str:
        return f"{self.release}/{self.sae_id}"

    @property
    def files(self) -> tuple[str, ...]:
        """The files that loading it needs."""
        return self.format.files(self.path)


def find_release(release: str, sae_id: str) -> Release:
    """Looks an SAE up; reads nothing but SAELens' registry.

    A `release` ORG/REPO that the registry does not have is a repository of the hub with SAEs in SAELens'
    format, and `sae_id` a folder of it.

    Raises:
        UserError: there is no such release or id (names the nearest), or it is not a dictionary of one site.
    """
    registry = get_pretrained_saes_directory()
    if release not in registry:
        return _of_repository(release, sae_id, registry)
    lookup = registry[release]
    if sae_id not in lookup.saes_map:
        near = similar_names(sae_id, lookup.saes_map)
        raise UserError(
            f"the release {release} has no SAE {sae_id!r}",
            f"release {release}",
            f"did you mean {' or '.join(near)}?"
            if near
            else f"use one of its {len(lookup.saes_map)}, such as {', '.join(list(lookup.saes_map)[:3])}",
        )
    form = FORMATS.get(lookup.conversion_func or "sae_lens")
    path = lookup.saes_map[sae_id]
    refused = "SAELens loads it in a way not known here" if form is None else form.refused
    if lookup.conversion_func == "gemma_3" and ("transcoder" in path or "clt" in path):
        refused = _TRANSCODERS
    if form is None or refused is not None:
        raise UserError(
            f"the SAEs of {release} cannot serve as features of one site: {refused}",
            f"release {release}",
            "use a release of SAEs of the residual stream, MLP or attention",
        )
    return Release(release, sae_id, lookup.repo_id, path, lookup.model, form)


def parse_release(text: str) -> Release:
    """Looks up RELEASE/SAE_ID, such as `gemma-scope-2b-pt-res-canonical/layer_20/width_16k/canonical`.

    Raises:
        UserError: as `find_release`; or the text has no `/`.
    """
    if text.startswith(("/", ".", "~")):
        raise UserError(f"no folder {text}", "SAE", "give the folder that SAELens or `saes.train` wrote")
    release, slash, sae_id = text.partition("/")
    registry = get_pretrained_saes_directory()
    if slash and release in registry:
        return find_release(release, sae_id)
    if text in registry:
        ids = list(registry[text].saes_map)
        raise UserError(
            f"{text} is a release of {len(ids)} SAEs",
            f"release {text}",
            f"write which one, such as {text}/{ids[0]}",
        )
    raise UserError(
        f"no folder {text}, and no release {release!r}",
        "SAE",
        f"give the folder that SAELens or `saes.train` wrote, or RELEASE/SAE_ID{_nearest(release, registry)}",
    )


def releases(subject: Subject | SubjectInfo | str) -> dict[str, tuple[str, ...]]:
    """The registered releases for a model - a subject or a name - with the ids of their SAEs.

    Releases that cannot be loaded here (transcoders, temporal SAEs) are left out.
    """
    if isinstance(subject, str):
        names: tuple[str, ...] = (subject,)
    else:
        names = subject_names(subject.info if isinstance(subject, Subject) else subject)
    found = {}
    for name, lookup in get_pretrained_saes_directory().items():
        form = FORMATS.get(lookup.conversion_func or "sae_lens")
        transcoders = lookup.conversion_func == "gemma_3" and "transcoders" in name
        if form is None or form.refused or transcoders:
            continue
        if any(_same_model(lookup.model, one) for one in names):
            found[name] = tuple(lookup.saes_map)
    return found


_same_model = cache(same_model)


def _of_repository(release: str, sae_id: str, registry: dict[str, PretrainedSAELookup]) -> Release:
    known = [name for name, lookup in registry.items() if lookup.repo_id == release]
    if known:
        raise UserError(
            f"{release} is the repository of the registered release {' and '.join(known)}",
            f"release {release}",
            f"give the release, which knows how to read it: {known[0]}/SAE_ID",
        )
    if release.count("/") != 1:
        raise UserError(
            f"there is no release {release!r}",
            "release",
            f"`saes.releases(subject)` lists those of a model{_nearest(release, registry)}",
        )
    return Release(release, sae_id, release, sae_id, None, FORMATS["sae_lens"])


def _nearest(release: str, registry: dict[str, PretrainedSAELookup]) -> str:
    near = similar_names(release, registry)
    return f"; did you mean {' or '.join(near)}?" if near else ""
