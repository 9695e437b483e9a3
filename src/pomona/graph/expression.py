"""The one grammar of conditions: ``level >= 3 and (accuracy > 0.9 or not tag in [keep, "try again"])``.

Loosest first: ``or``, ``and``, ``not``, then a comparison, a call as ``ancestors(3fa1)``, or an expression in
parentheses. A name may have subscripts (``class-accuracy[3]``). Words are bare or quoted.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from pomona.core.errors import InputError

ORDERS = ("<", "<=", ">", ">=")
_TOKEN = re.compile(r"\s*(?:(==|!=|<=|>=|[()\[\],<>])|\"([^\"]*)\"|'([^']*)'|([^\s()\[\],=<>!\"']+))")
_NUMBER = re.compile(r"([+-]?(?:\d+\.?\d*|\.\d+))(?:[eE]([+-]?\d+))?(%?)")
_SIGNS = frozenset(["and", "or", "not", "in", "(", ")", "[", "]", ",", "==", "!=", *ORDERS])
_DEEPEST, _LONGEST, _LONGEST_NUMBER = 20, 20_000, 100  # far more than anybody writes


@dataclass(frozen=True)
class Word:
    """A word of an expression, and its column from 1."""

    text: str
    column: int
    quoted: bool = False

    @property
    def number(self) -> int | float | None:
        """The number that a bare word is; ``20%`` is 0.2."""
        found = None if self.quoted else _NUMBER.fullmatch(self.text)
        if found is None or len(self.text) > _LONGEST_NUMBER:
            return None
        if found[2] is None and not found[3] and "." not in found[1]:
            return int(found[1])
        # A hundredth by moving the point, so that only one rounding happens.
        return float(f"{found[1]}e{int(found[2] or 0) - (2 if found[3] else 0)}")


@dataclass(frozen=True)
class Comparison:
    """``name[subscripts] operator values``; one value but for ``in``. ``!=`` is a ``Not`` of ``==``."""

    name: Word
    subscripts: tuple[Word, ...]
    operator: str
    values: tuple[Word, ...]


@dataclass(frozen=True)
class Call:
    """``name(argument)``."""

    name: Word
    argument: Word


@dataclass(frozen=True)
class Not:
    """What does not hold."""

    part: Expression


@dataclass(frozen=True)
class And:
    """All of at least two."""

    parts: tuple[Expression, ...]


@dataclass(frozen=True)
class Or:
    """Any of at least two."""

    parts: tuple[Expression, ...]


Expression = Comparison | Call | Not | And | Or


@dataclass(frozen=True)
class Text:
    """A text that is read as an expression.

    Args:
        what: What it is to the reader of an error: ``condition`` or ``query``.
        text: As written.
        operators: The comparisons that it may have beside ``in``.
    """

    what: str
    text: str
    operators: tuple[str, ...] = ("==", "!=", *ORDERS)

    def parse(self) -> Expression:
        """Read it.

        Raises:
            InputError: The grammar is broken; says where and what was expected.
        """
        if not all(character.isprintable() or character.isspace() for character in self.text):
            raise self.error("it holds characters that cannot be printed")
        return _Parser(self).parse()

    def error(self, message: str, word: Word | None = None) -> InputError:
        """An error that says at which word; at the end where there is none."""
        place = f", column {word.column}" if word else ""
        return InputError(f"{self.what} {self.text!r}{place}: {message}")


class _Parser:
    def __init__(self, source: Text) -> None:
        self.source = source
        self.tokens = list(_tokens(source))
        self.next = 0
        self.depth = 0

    def parse(self) -> Expression:
        found = self._either()
        if self._token is not None:
            raise self._unexpected(self._token)
        return found

    def _either(self) -> Expression:
        parts = [self._both()]
        while self._take("or"):
            parts.append(self._both())
        return parts[0] if len(parts) == 1 else Or(tuple(parts))

    def _both(self) -> Expression:
        parts = [self._negated()]
        while self._take("and"):
            parts.append(self._negated())
        return parts[0] if len(parts) == 1 else And(tuple(parts))

    def _negated(self) -> Expression:
        self.depth += 1
        if self.depth > _DEEPEST:
            raise self.source.error(f"nested deeper than {_DEEPEST}; take it apart", self._token)
        if self._take("not"):
            found: Expression = Not(self._negated())
        elif self._take("("):
            found = self._either()
            self._expect(")")
        else:
            found = self._term()
        self.depth -= 1
        return found

    def _term(self) -> Expression:
        name = self._word("a name")
        if self._take("("):
            argument = self._word(f"what {name.text} is asked of")
            self._expect(")")
            return Call(name, argument)
        subscripts = []
        while self._take("["):
            subscripts.append(self._word(f"a subscript of {name.text}"))
            self._expect("]")
        return self._comparison(name, tuple(subscripts))

    def _comparison(self, name: Word, subscripts: tuple[Word, ...]) -> Expression:
        for operator in self.source.operators:
            if self._take(operator):
                value = self._word(f"a value of {name.text}")
                if operator == "!=":
                    return Not(Comparison(name, subscripts, "==", (value,)))
                return Comparison(name, subscripts, operator, (value,))
        negated = self._take("not")
        if not self._take("in"):
            allowed = ", ".join(self.source.operators)
            raise self.source.error(f"expected {allowed}, in or not in after {name.text!r}", self._token)
        found = Comparison(name, subscripts, "in", self._values(name))
        return Not(found) if negated else found

    def _values(self, name: Word) -> tuple[Word, ...]:
        self._expect("[")
        values = [self._word(f"a value of {name.text}")]
        while self._take(","):
            values.append(self._word(f"a value of {name.text}"))
        self._expect("]")
        return tuple(values)

    @property
    def _token(self) -> Word | None:
        return self.tokens[self.next] if self.next < len(self.tokens) else None

    def _is_sign(self, token: Word) -> bool:
        return not token.quoted and token.text in _SIGNS

    def _take(self, sign: str) -> bool:
        token = self._token
        if token is not None and token.text == sign and not token.quoted:
            self.next += 1
            return True
        return False

    def _expect(self, sign: str) -> None:
        if not self._take(sign):
            got = f", got {self._token.text!r}" if self._token else ""
            raise self.source.error(f"expected {sign!r}{got}", self._token)

    def _word(self, what: str) -> Word:
        token = self._token
        if token is None:
            raise self.source.error(f"expected {what} at the end")
        if self._is_sign(token):
            raise self.source.error(f"expected {what}, got {token.text!r}", token)
        self.next += 1
        return token

    def _unexpected(self, token: Word) -> InputError:
        before = self.tokens[self.next - 1]
        hint = ""
        if not self._is_sign(token) and not self._is_sign(before):
            hint = f'; a label of several words is quoted: "{before.text} {token.text} .."'
        if token.text in ("&", "|", "&&", "||"):
            hint = f"; write {'and' if '&' in token.text else 'or'}"
        return self.source.error(f"did not expect {token.text!r}{hint}", token)


def _tokens(source: Text) -> Iterator[Word]:
    text, position = source.text, 0
    count = 0
    while text[position:].strip():
        found = _TOKEN.match(text, position)
        column = position + len(text[position:]) - len(text[position:].lstrip()) + 1
        if found is None:
            rest = text[position:].strip()
            hint = "; is a quote not closed?" if rest[0] in "\"'" else ""
            raise source.error(f"cannot read {_shortened(rest)!r}{hint}", Word("", column))
        count += 1
        if count > _LONGEST:
            raise source.error(f"more than {_LONGEST} words", Word("", column))
        quoted = found[2] is not None or found[3] is not None
        yield Word(next(part for part in found.groups() if part is not None), column, quoted)
        position = found.end()


def _shortened(text: str, length: int = 60) -> str:
    return text if len(text) <= length else text[: length - 3] + "..."
