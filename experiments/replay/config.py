"""A session of the Monitor again: what the model writes, why, and what the steering set changes."""

from interp.errors import UserError
from interp.fields import Count
from interp.monitor.bench import Sources
from interp.monitor.session import State

from ..common.config import SubjectJobConfig, check_subject


class Config(SubjectJobConfig):
    """A session, as `interp serve` exports it."""

    sources: Sources = Sources()
    """The model's features, their descriptions, and neutral text."""
    state: State
    """The conversation, the steering set, and how the model writes."""
    features: Count = 30
    """How many features are listed that matter for the first token of the answer."""


def check(config: Config) -> None:
    """Raises UserError if a file or a layer is not there, or nothing was said."""
    info = check_subject(config)
    config.sources.check(info)
    conversation = config.state.conversation
    if not any(conversation.turns[number].role != "assistant" for number in conversation.path()):
        raise UserError("nothing was said", "state.conversation", "give a turn of the user to answer")
