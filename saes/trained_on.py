"""What an SAE was trained on - model, hook, weight processing, BOS - and whether a subject matches it."""

import re
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from interp.errors import UserError
from interp.subject.folder import SubjectInfo, read_config
from interp.subject.model_names import check_made_for, same_model
from interp.subject.site import RESIDUAL_KINDS, SITE_KINDS, Site
from interp.subject.subject import Subject

_BRIDGE_HOOKS = {
    "embed.hook_out": "embed",
    "blocks.{layer}.hook_in": "resid_pre",
    "blocks.{layer}.hook_out": "resid_post",
    "blocks.{layer}.mlp.out.hook_in": "mlp_post",
    "blocks.{layer}.attn.o.hook_in": "head_out",
}


class UnknownTraining(UserWarning):
    """Something about an SAE's training is not stated, so it could not be checked against the subject."""


@dataclass(frozen=True)
class TrainedOn:
    """What is known of an SAE's training; None is unknown.

    `models` are the names that its sources give; they usually say the same. `processing` is the weight
    processing of the model, `stated` whether it is written down (or known of the format) rather than SAELens'
    default for what says nothing.
    """

    models: tuple[str, ...]
    hook_name: str | None
    processing: str
    stated: bool
    exactly: bool
    prepend_bos: bool | None
    context_size: int | None


def trained_on(
    metadata: Mapping[str, Any], models: tuple[str, ...] = (), processing: str | None = None
) -> TrainedOn:
    """Reads an SAE's metadata, of SAELens or of `saes.train`.

    `models` are names from elsewhere (the registry), `processing` what is known of a whole format.

    `saes.train` writes `processing`. SAELens writes `model_from_pretrained_kwargs`, which it gives to
    TransformerLens' `from_pretrained_no_processing`: what they do not name is off. Which of them count
    depends on the site: `center_writing_weights` changes the residual stream and what is written to it,
    `fold_value_biases` the heads' outputs (`check_processing`).
    """
    named = metadata.get("model_name")
    hook_name = metadata.get("hook_name")
    own = metadata.get("processing")
    options = metadata.get("model_from_pretrained_kwargs")
    head = "hook_z" in str(hook_name) or "attn.o.hook_in" in str(hook_name)
    option = "fold_value_biases" if head else "center_writing_weights"
    found = own or processing
    if found is None and isinstance(options, Mapping) and option in options:
        found = "fold" if options[option] else "none"
    stated = found is not None or isinstance(options, Mapping)
    bos, context = metadata.get("prepend_bos"), metadata.get("context_size")
    names = [name for name in (named, *models) if isinstance(name, str)]
    return TrainedOn(
        models=tuple(dict.fromkeys(names)),
        hook_name=None if hook_name is None else str(hook_name),
        processing=str(found or "none"),
        stated=stated,
        exactly=own is not None,
        prepend_bos=bos if isinstance(bos, bool) else None,
        context_size=context if isinstance(context, int) else None,
    )


def site_of_hook(hook_name: str) -> Site | None:
    """The site with this hook name of HookedTransformer or TransformerBridge; None if it is not one of ours.

    A bridge's `attn.hook_out` and `mlp.hook_out` come before the norm that Gemma applies to these outputs, so
    they are no site of ours.
    """
    number = re.search(r"\d+", hook_name)
    layer = int(number.group()) if number else 0
    for kind in SITE_KINDS:
        if Site(kind, layer).hook_name == hook_name:
            return Site(kind, layer)
    kind_of = {pattern.format(layer=layer): kind for pattern, kind in _BRIDGE_HOOKS.items()}
    return Site.parse(f"{kind_of[hook_name]}.{layer}") if hook_name in kind_of else None


def site_trained_at(known: TrainedOn, place: str, asked: Site | None = None) -> Site:
    """The site an SAE was trained at, `asked` where its metadata does not say it.

    Raises:
        UserError: the hook is none of ours, not the one that was asked for, or not known at all.
    """
    if known.hook_name is None:
        if asked is None:
            raise UserError(
                "the SAE does not say at which site it was trained",
                place,
                "give the site, such as resid_post.3",
            )
        return asked
    site = site_of_hook(known.hook_name)
    if site is None:
        raise UserError(
            f"the SAE was trained at the hook {known.hook_name!r}, which is none of the sites known here",
            place,
            f"use an SAE of one of {', '.join(SITE_KINDS)}",
        )
    if asked is not None and asked != site:
        raise UserError(f"the SAE was trained at {site}, not at {asked}", place, f"ask for {site}")
    return site


def check_model(known: TrainedOn, info: SubjectInfo, place: str) -> None:
    """Raises UserError if the SAE was trained on another model than the subject."""
    if not known.models:
        _say(f"{place} does not say on which model it was trained; taken to be {info.name}")
        return
    check_made_for("the SAE was trained", known.models, info, place)
    if not all(same_model(model, known.models[0]) for model in known.models):
        _say(f"{place}: its sources name different models, {' and '.join(known.models)}")


def check_training(known: TrainedOn, site: Site, subject: Subject, place: str) -> None:
    """Compares weight processing, BOS and context with the subject's, at the SAE's site.

    Warns (`UnknownTraining`) of what is not stated and may matter, and of a BOS or a context that differ.

    Raises:
        UserError: the SAE was trained on weights that were processed otherwise, where that matters.
    """
    if known.exactly or processing_matters(subject, site):
        if known.stated and known.processing != subject.processing:
            raise UserError(
                f"the SAE was trained on weights with processing {known.processing!r}; "
                f"the subject has {subject.processing!r}",
                place,
                f"load the subject with processing={known.processing!r}",
            )
        if not known.stated:
            _say(
                f"{place} does not say with which weight processing it was trained; SAELens would use "
                f"{known.processing!r}, the subject has {subject.processing!r}"
            )
    has_bos = subject.bos_id is not None
    if known.prepend_bos is not None and known.prepend_bos != has_bos:
        _say(
            f"{place} was trained {'with' if known.prepend_bos else 'without'} a beginning-of-sequence "
            f"token, and {subject.name} is read {'with' if has_bos else 'without'} one"
        )
    if known.context_size is not None and known.context_size > subject.n_ctx:
        _say(
            f"{place} was trained on contexts of {known.context_size} tokens; "
            f"{subject.name} sees {subject.n_ctx} at most"
        )


def processing_matters(subject: Subject, site: Site) -> bool:
    """Whether weight processing (`none` or `fold`) changes the activations at a site.

    Centring the writing weights takes the mean off everything in the residual stream, in models with
    LayerNorm only (RMSNorm sees the mean, so TransformerLens does not centre there). Folding value biases
    moves them out of the heads' outputs. The MLP's hidden activations never change.
    """
    if site.kind == "mlp_post":
        return False
    if site.kind in RESIDUAL_KINDS:
        return not hasattr(read_config(subject.info.folder), "rms_norm_eps")
    return True


def _say(what: str) -> None:
    warnings.warn(what, UnknownTraining, stacklevel=4)
