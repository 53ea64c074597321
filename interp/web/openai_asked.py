"""What programs may ask the OpenAI door for: the bodies of its requests."""

from typing import Annotated, Literal

from pydantic import Field

from interp.fields import (
    Count,
    CountOrZero,
    Flag,
    Line,
    Listed,
    NonEmpty,
    NotNegative,
    Section,
    Seed,
    Text,
    TokenId,
    Word,
)
from interp.monitor.steering import Card

TopNumber = Annotated[int, Field(ge=0, le=20)]
Stops = Annotated[tuple[Annotated[Text, Field(min_length=1)], ...], Field(max_length=4)]


class StreamOptions(Section):
    """What a stream tells besides the text."""

    include_usage: Flag = False


class Common(Section):
    """What both kinds of request have. `steer` are cards, after those of a named set."""

    model: Line
    max_tokens: CountOrZero | None = None
    temperature: NotNegative | None = None
    seed: Seed | None = None
    stop: Annotated[Text, Field(min_length=1)] | Stops | None = None
    stream: Flag | None = None
    stream_options: StreamOptions | None = None
    n: Count | None = None
    top_p: Literal[1] | None = None
    presence_penalty: Literal[0] | None = None
    frequency_penalty: Literal[0] | None = None
    user: Line | None = None
    steer: Listed[Card] = ()


class Completion(Common):
    """A plain text to continue."""

    prompt: Text | tuple[Text] | NonEmpty[TokenId]
    logprobs: TopNumber | None = None
    echo: Flag | None = None


class TextPart(Section):
    """A text as part of a message."""

    type: Literal["text"]
    text: Text


class ChatMessage(Section):
    """A turn of a chat."""

    role: Literal["system", "user", "assistant", "developer"]
    content: Text | NonEmpty[TextPart]
    name: Word | None = None

    @property
    def whole(self) -> str:
        """The text of all of its parts."""
        return self.content if isinstance(self.content, str) else "".join(one.text for one in self.content)


class Chat(Common):
    """A chat to answer."""

    messages: NonEmpty[ChatMessage]
    max_completion_tokens: CountOrZero | None = None
    logprobs: Flag | None = None
    top_logprobs: TopNumber | None = None
