"""Which feature spaces a config means: neurons, the latents of an SAE, directions from a file."""

from interp.cost import SpaceSize, SubjectShape, neuron_spaces
from interp.errors import UserError
from interp.features.directions import Directions
from interp.features.neurons import MlpNeurons
from interp.features.space import FeatureSpace, writable
from interp.fields import FilePath, Flag, Layer, Listed, Section
from interp.subject.folder import SubjectInfo
from interp.subject.site import Site, SiteName
from interp.subject.subject import Subject
from interp.tensors import check_finite
from interp.track.files import read_safetensors
from saes.cost import saved_size
from saes.source import SaeSource, check_sae, open_sae

_VECTORS = "vectors"


class DirectionsConfig(Section):
    """Directions of your own."""

    path: FilePath
    """A safetensors file with a tensor "vectors" [direction, d_model]."""
    site: SiteName
    """Their site: KIND.LAYER."""


class SpacesConfig(Section):
    """The feature spaces of a run that changes features."""

    neurons: Flag | Listed[Layer] = True
    """The MLP neurons of all layers, of none, or of the layers listed."""
    saes: Listed[SaeSource] = ()
    """SAEs: folders in SAELens' format, RELEASE/SAE_ID of its registry, or mappings that say more."""
    directions: Listed[DirectionsConfig] = ()
    """Directions from files; each is named after its file."""


def check_spaces(config: SpacesConfig, info: SubjectInfo) -> None:
    """Raises UserError if nothing is asked for, or a layer, a site or a file does not exist."""
    if not (config.neurons or config.saes or config.directions):
        raise UserError("there is no feature space", "spaces", "set neurons, saes or directions")
    for source in config.saes:
        check_sae(source, info, "spaces.saes")
    for name in neuron_sizes(config, info):
        info.site_width(Site("mlp_post", int(name.removeprefix("mlp."))))
    for directions in config.directions:
        info.site_width(Site.parse(directions.site))
        if not directions.path.is_file():
            raise UserError(f"no file {directions.path}", "spaces.directions", "give a safetensors file")


def neuron_sizes(config: SpacesConfig, info: SubjectInfo) -> dict[str, int]:
    """Number of neurons in each layer that is asked for, by the name of its space."""
    layers = range(info.n_layers) if config.neurons is True else config.neurons or ()
    return {f"mlp.{layer}": info.d_mlp for layer in layers}


def space_sizes(config: SpacesConfig, shape: SubjectShape) -> list[SpaceSize]:
    """Sizes of the spaces of neurons and latents that are asked for; directions are left out."""
    neurons = neuron_spaces(shape, None if config.neurons is True else config.neurons or ())
    return neurons + [saved_size(shape, source) for source in config.saes]


def open_spaces(config: SpacesConfig, subject: Subject) -> list[FeatureSpace]:
    """Opens the spaces, whose features are to be changed, in the order neurons, latents, directions.

    Raises:
        UserError: a layer does not exist, a file does not fit the subject, or features can only be read.
    """
    layers = range(subject.n_layers) if config.neurons is True else config.neurons or ()
    spaces: list[FeatureSpace] = [MlpNeurons(subject, layer) for layer in layers]
    spaces += [writable(open_sae(source, subject)) for source in config.saes]
    spaces += [_directions(one, subject) for one in config.directions]
    names = [space.name for space in spaces]
    for name in names:
        if names.count(name) > 1:
            raise UserError(
                f"two feature spaces are called {name}",
                "spaces",
                "give each once, or write SAEs of one site as {release: ..., id: ..., name: ...}",
            )
    return spaces


def _directions(config: DirectionsConfig, subject: Subject) -> Directions:
    tensors, _ = read_safetensors(config.path)
    if _VECTORS not in tensors or tensors[_VECTORS].ndim != 2:
        raise UserError(
            f"no tensor {_VECTORS!r} [direction, d_model]", str(config.path), "save the directions under it"
        )
    check_finite(tensors, str(config.path), "save the directions again")
    return Directions(subject, config.path.stem, Site.parse(config.site), tensors[_VECTORS])
