"""Conditions over factors: ``treatment == rewind or method in [l1-unstructured, l1-structured]``.

Grammar, loosest first: ``or``, ``and``, ``not``, then ``factor == label``, ``!=``, ``in [..]``,
``not in [..]`` or a condition in parentheses. Labels are bare words or quoted.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence

from pomona.core.errors import InputError, unknown

Arm = Mapping[str, str]
Condition = Callable[[Arm], bool]

_TOKEN = re.compile(r"\s*(?:(==|!=|[()\[\],])|\"([^\"]*)\"|'([^']*)'|([^\s()\[\],=!\"']+))")


def parse_condition(text: str, factors: Mapping[str, Sequence[str]]) -> Condition:
    """Read a condition.

    Args:
        text: As written in the study.
        factors: The labels of every factor.

    Raises:
        InputError: The grammar is broken, or a factor or label is not known (names the nearest).
    """
    return _Parser(text, factors).parse()


class _Parser:
    def __init__(self, text: str, factors: Mapping[str, Sequence[str]]) -> None:
        self.text = text
        self.factors = factors
        self.tokens: list[str] = []
        position = 0
        while text[position:].strip():
            found = _TOKEN.match(text, position)
            if found is None:
                raise InputError(f"cannot read {text[position:].strip()!r} in the condition {text!r}")
            self.tokens.append(next(part for part in found.groups() if part is not None))
            position = found.end()

    def parse(self) -> Condition:
        condition = self._either()
        if self.tokens:
            raise self._error(f"did not expect {self.tokens[0]!r}")
        return condition

    def _either(self) -> Condition:
        parts = [self._both()]
        while self._take("or"):
            parts.append(self._both())
        return parts[0] if len(parts) == 1 else lambda arm: any(part(arm) for part in parts)

    def _both(self) -> Condition:
        parts = [self._negated()]
        while self._take("and"):
            parts.append(self._negated())
        return parts[0] if len(parts) == 1 else lambda arm: all(part(arm) for part in parts)

    def _negated(self) -> Condition:
        if self._take("not"):
            inner = self._negated()
            return lambda arm: not inner(arm)
        if self._take("("):
            inner = self._either()
            self._expect(")")
            return inner
        return self._comparison()

    def _comparison(self) -> Condition:
        factor = self._next("the name of a factor")
        if factor not in self.factors:
            raise self._error(unknown("factor", factor, self.factors))
        if self._take("=="):
            label = self._label(factor)
            return lambda arm: arm[factor] == label
        if self._take("!="):
            label = self._label(factor)
            return lambda arm: arm[factor] != label
        wanted = not self._take("not")
        if not self._take("in"):
            raise self._error(f"expected ==, !=, in or not in after {factor!r}")
        labels = self._labels(factor)
        return lambda arm: (arm[factor] in labels) == wanted

    def _labels(self, factor: str) -> set[str]:
        self._expect("[")
        labels = {self._label(factor)}
        while self._take(","):
            labels.add(self._label(factor))
        self._expect("]")
        return labels

    def _label(self, factor: str) -> str:
        label = self._next(f"a label of {factor}")
        if label not in self.factors[factor]:
            raise self._error(unknown(f"label of factor {factor!r}", label, self.factors[factor]))
        return label

    def _take(self, token: str) -> bool:
        if self.tokens and self.tokens[0] == token:
            self.tokens.pop(0)
            return True
        return False

    def _expect(self, token: str) -> None:
        if not self._take(token):
            raise self._error(
                f"expected {token!r}, got {self.tokens[0]!r}" if self.tokens else f"expected {token!r}"
            )

    def _next(self, what: str) -> str:
        if not self.tokens:
            raise self._error(f"expected {what} at the end")
        return self.tokens.pop(0)

    def _error(self, text: str) -> InputError:
        return InputError(f"condition {self.text!r}: {text}")
