"""Words in running text: which scripts separate them by spaces, and whether a text contains one."""

import re
import unicodedata
from functools import cache

_SPACELESS = {
    *("BOPOMOFO", "CJK", "FULLWIDTH", "HALFWIDTH", "HIRAGANA", "IDEOGRAPHIC", "KATAKANA"),
    *("KATAKANA-HIRAGANA", "KHMER", "LAO", "MYANMAR", "THAI", "TIBETAN", "YI"),
}
_UNMARKED = _SPACELESS | {"HANGUL"}  # written with spaces, but with particles at a word's end


@cache
def spaceless(character: str) -> bool:
    """Whether a character belongs to a script that writes no spaces between words (by its Unicode name)."""
    return unicodedata.name(character, "").split(" ")[0] in _SPACELESS


def holds(text: str, words: str) -> bool:
    """Whether a text contains these words, whole, in any case and spacing: "us" is not in "because".

    In scripts that do not mark a word's end by a space (Han, kana, Thai, Hangul, ...) any occurrence counts.
    False for words that are only white space.
    """
    text, words = (unicodedata.normalize("NFC", one).casefold() for one in (text, words))
    characters = "".join(words.split())
    if not characters:
        return False
    spelled = r"\s*".join(map(re.escape, characters))
    return any(
        not _one_word(text[found.start() - 1 : found.start()], found[1][:1])
        and not _one_word(found[1][-1:], text[found.end(1) : found.end(1) + 1])
        for found in re.finditer(f"(?=({spelled}))", text)
    )


def _one_word(before: str, after: str) -> bool:
    """Whether two neighbouring characters (none at a text's end) belong to one word."""
    return _in_word(before) and _in_word(after)


@cache
def _in_word(character: str) -> bool:
    if not character or unicodedata.name(character, "").split(" ")[0] in _UNMARKED:
        return False
    return character == "_" or unicodedata.category(character)[0] in "LMN"
