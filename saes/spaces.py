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
from saes.source import SaeConfig

_VECTORS = "vectors"


class DirectionsConfig(Section):
    """Directions of your own."""

    path: FilePath
    """A safetensors file with a tensor "vectors" [direction, d_model]."""
    site: SiteName
    """Their site: KIND.LAYER."""

    def check(self, info: SubjectInfo, field: str = "spaces.directions") -> None:
        """Raises UserError if the site or the file does not exist."""
        info.site_width(Site.parse(self.site))
        if not self.path.is_file():
            raise UserError(f"no file {self.path}", field, "give a safetensors file")

    def open(self, subject: Subject) -> Directions:
        """Reads the directions, named after the file.

        Raises:
            UserError: the file holds no finite directions, or they do not fit the subject.
        """
        tensors, _ = read_safetensors(self.path)
        if _VECTORS not in tensors or tensors[_VECTORS].ndim != 2:
            raise UserError(
                f"no tensor {_VECTORS!r} [direction, d_model]", str(self.path), "save the directions under it"
            )
        check_finite(tensors, str(self.path), "save the directions again")
        return Directions(subject, self.path.stem, Site.parse(self.site), tensors[_VECTORS])


class SpacesConfig(Section):
    """The feature spaces of a run that changes features."""

    neurons: Flag | Listed[Layer] = True
    """The MLP neurons of all layers, of none, or of the layers listed."""
    saes: Listed[SaeConfig] = ()
    """SAEs: folders in SAELens' format, RELEASE/SAE_ID of its registry, or mappings that say more."""
    directions: Listed[DirectionsConfig] = ()
    """Directions from files; each is named after its file."""

    def check(self, info: SubjectInfo, field: str = "spaces") -> None:
        """Raises UserError if nothing is asked for, or a layer, a site or a file does not exist."""
        if not (self.neurons or self.saes or self.directions):
            raise UserError("there is no feature space", field, "set neurons, saes or directions")
        for source in self.saes:
            source.check(info, f"{field}.saes")
        for name in self.neuron_sizes(info):
            info.site_width(Site("mlp_post", int(name.removeprefix("mlp."))))
        for directions in self.directions:
            directions.check(info, f"{field}.directions")

    def neuron_sizes(self, info: SubjectInfo) -> dict[str, int]:
        """Number of neurons in each layer that is asked for, by the name of its space."""
        layers = range(info.n_layers) if self.neurons is True else self.neurons or ()
        return {f"mlp.{layer}": info.d_mlp for layer in layers}

    def sizes(self, shape: SubjectShape) -> list[SpaceSize]:
        """Sizes of the spaces of neurons and latents that are asked for; directions are left out."""
        neurons = neuron_spaces(shape, None if self.neurons is True else self.neurons or ())
        return neurons + [saved_size(shape, source) for source in self.saes]

    def open(self, subject: Subject) -> list[FeatureSpace]:
        """Opens the spaces, whose features are to be changed, in the order neurons, latents, directions.

        Raises:
            UserError: a layer does not exist, a file does not fit the subject, or features can only be read.
        """
        layers = range(subject.n_layers) if self.neurons is True else self.neurons or ()
        spaces: list[FeatureSpace] = [MlpNeurons(subject, layer) for layer in layers]
        spaces += [writable(source.open(subject)) for source in self.saes]
        spaces += [directions.open(subject) for directions in self.directions]
        names = [space.name for space in spaces]
        for name in names:
            if names.count(name) > 1:
                raise UserError(
                    f"two feature spaces are called {name}",
                    "spaces",
                    "give each once, or write SAEs of one site as {release: ..., id: ..., name: ...}",
                )
        return spaces
