"""The section of a config that selects the model."""

from interp.fields import Device, Flag, PathText, Section
from interp.subject.load import BackendName, Dtype, Processing


class SubjectConfig(Section):
    """The model under study."""

    name: PathText = "world"
    """A bundled name, a local Hugging Face folder, or a hub name."""
    backend: BackendName = "auto"
    """`hooked` (HookedTransformer), `bridge` (TransformerBridge), or `auto`: hooked where it can."""
    device: Device = "cpu"
    """Where it runs: cpu, cuda, cuda:1, mps."""
    dtype: Dtype = "float32"
    """Float type of its weights and activations."""
    processing: Processing = "none"
    """TransformerLens' weight processing: `fold` folds layer norms and centres writing weights."""
    skip_first: Flag | None = None
    """Whether each row's first position is left out of means, quantiles, exemplars, principal directions and
    what SAEs are trained on. By default where the model has no beginning-of-sequence token (Qwen): there the
    first token is an attention sink of huge norm. Where it has one, that is left out in any case."""
    check: Flag = True
    """Refuse a model whose logits the library does not compute as `transformers` does; false goes on."""
