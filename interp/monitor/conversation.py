"""A conversation as a tree of turns: an edit, a fork or another answer is a branch, and nothing is lost."""

from collections.abc import Sequence
from typing import Literal, NamedTuple

from interp.errors import UserError
from interp.fields import CountOrZero, Flag, Listed, Section, Text, TokenId
from interp.subject.subject import Subject

Role = Literal["system", "user", "assistant"]


class Turn(Section):
    """What one side said, after the turn `follows`."""

    role: Role
    """Whose turn it is."""
    text: Text = ""
    """What was typed."""
    follows: CountOrZero | None = None
    """Number of the turn before it; null if it begins the conversation."""
    tokens: Listed[TokenId] = ()
    """What the model wrote in place of a text."""
    given: CountOrZero = 0
    """How many of `tokens` were given by a fork, and not written after them."""


class Span(NamedTuple):
    """Tokens of a turn in the text of a path: from `start` up to, but without, `end`."""

    turn: int
    start: int
    end: int


class Conversation(Section):
    """Turns in the order in which they were made, and the one whose path is shown.

    `chat` puts the model's chat template around them. Without, the model continues plain text: a path is the
    text of its turns, joined.

    Raises:
        UserError: a turn follows one that is not before it, or there is none to show.
    """

    chat: Flag = False
    """Whether the chat template is put around the turns."""
    turns: Listed[Turn] = ()
    """All turns of all branches."""
    shown: CountOrZero | None = None
    """Number of the last turn of the path that is shown; null before the first turn."""

    def model_post_init(self, context: object) -> None:
        """Checks that turns follow earlier ones."""
        late = [n for n, turn in enumerate(self.turns) if turn.follows is not None and turn.follows >= n]
        if late or (self.shown is not None and self.shown >= len(self.turns)):
            raise UserError(
                f"turn {late[0]} follows a later one" if late else f"there is no turn {self.shown}",
                "conversation",
                "give turns in the order in which they were made",
            )

    def path(self, end: int | None = None) -> list[int]:
        """The turns from the first to `end` (default: the one that is shown)."""
        found: list[int] = []
        number = self.shown if end is None else self._known(end)
        while number is not None:
            found.append(number)
            number = self.turns[number].follows
        return found[::-1]

    def branches(self, number: int) -> list[int]:
        """The turns that stand in the place of this one, itself included: its alternatives."""
        turn = self.turns[self._known(number)]
        return [n for n, other in enumerate(self.turns) if other.follows == turn.follows]

    def said(self, role: Role, text: str) -> "Conversation":
        """Adds a turn after the path that is shown, and shows it."""
        return self._added(Turn(role=role, text=text, follows=self.shown))

    def written(self, tokens: Sequence[int], given: int = 0) -> "Conversation":
        """Adds what the model wrote after the path that is shown, and shows it."""
        return self._added(Turn(role="assistant", follows=self.shown, tokens=tuple(tokens), given=given))

    def edited(self, number: int, text: str) -> "Conversation":
        """Adds a branch in which a turn has another text; the old one stays, with all that follows it."""
        turn = self.turns[self._known(number)]
        return self._added(Turn(role=turn.role, text=text, follows=turn.follows))

    def before(self, number: int) -> "Conversation":
        """Shows the path that ends before a turn, so that another one can take its place."""
        return self._at(self.turns[self._known(number)].follows)

    def showing(self, number: int) -> "Conversation":
        """Shows a turn, and after it the branch that was made last."""
        follows = {turn.follows: n for n, turn in enumerate(self.turns)}
        self._known(number)
        while number in follows:
            number = follows[number]
        return self._at(number)

    def text(self, subject: Subject, number: int) -> str:
        """The text of a turn."""
        turn = self.turns[self._known(number)]
        return subject.decode(turn.tokens) if turn.tokens else turn.text

    def own_tokens(self, subject: Subject, number: int) -> list[int]:
        """The tokens of a turn alone: those that were written, or those of what was typed."""
        turn = self.turns[self._known(number)]
        return list(turn.tokens) or subject.encode(turn.text)

    def tokens(self, subject: Subject) -> list[int]:
        """The text of the shown path as the model reads it, up to where it goes on.

        An answer at its end keeps the tokens that were written. In a chat, one before it is what the template
        makes of its text.

        Raises:
            UserError: nothing was said yet; a word is not in the vocabulary; or the model has no template, or
                one that refuses these turns.
        """
        return self._tokens(subject, self.path())

    def spans(self, subject: Subject) -> list[Span]:
        """Where the answers of the shown path stand in its tokens; one that the template changed: nowhere."""
        path = self.path()
        whole = self._tokens(subject, path)
        return [span for end in range(len(path)) if (span := self._span(subject, path[: end + 1], whole))]

    def forked(
        self, subject: Subject, number: int, place: int, token: int
    ) -> tuple["Conversation", list[int]]:
        """Shows the path before an answer, and gives the tokens with which another one begins.

        They are the first `place` tokens of answer `number` and then `token`.

        Raises:
            UserError: the turn is no answer that was written, or has fewer tokens.
        """
        turn = self.turns[self._known(number)]
        if not 0 <= place < len(turn.tokens):
            raise UserError(
                f"turn {number} has {len(turn.tokens)} written tokens, and no number {place}",
                "fork",
                "fork an answer of the model at one of its tokens",
            )
        return self.before(number), [*turn.tokens[:place], token]

    def _tokens(self, subject: Subject, path: Sequence[int]) -> list[int]:
        if not path:
            raise UserError("nothing was said yet", "conversation", "write a prompt")
        if not self.chat:
            return subject.with_bos([token for number in path for token in self.own_tokens(subject, number)])
        answers = self.turns[path[-1]].role == "assistant"
        messages = [
            {"role": self.turns[number].role, "content": self.text(subject, number)}
            for number in (path[:-1] if answers else path)
        ]
        return [*subject.conversation(messages), *(self.own_tokens(subject, path[-1]) if answers else ())]

    def _span(self, subject: Subject, path: Sequence[int], whole: Sequence[int]) -> Span | None:
        turn = self.turns[path[-1]]
        if turn.role != "assistant" or len(path) == 1:
            return None
        start = len(self._tokens(subject, path[:-1]))
        end = start + len(turn.tokens)
        same = list(whole[start:end]) == list(turn.tokens)
        return Span(path[-1], start, end) if same and turn.tokens else None

    def _added(self, turn: Turn) -> "Conversation":
        return self.model_copy(update={"turns": (*self.turns, turn), "shown": len(self.turns)})

    def _at(self, number: int | None) -> "Conversation":
        return self.model_copy(update={"shown": number})

    def _known(self, number: int) -> int:
        if not 0 <= number < len(self.turns):
            raise UserError(f"there is no turn {number}", "conversation", f"it has {len(self.turns)} turns")
        return number
