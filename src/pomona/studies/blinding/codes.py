"""Codes that stand for labels and keys while a study is blinded, and the commitment to them."""

from __future__ import annotations

import hashlib
import hmac
import itertools
import json
from collections.abc import Iterable, Mapping

# Neither vowels, so that no code is a word, nor what is mistaken for something else: 0 and O, 1 and I, 5 and
# S, 2 and Z, 8 and B, V and U, W and VV.
ALPHABET = "CDFGHJKLMNPQRTX34679"
_SHORTEST = 4


def codes_of(salt: str, factor: str, labels: Iterable[str]) -> dict[str, str]:
    """A code for each label of a factor, all different.

    Returns:
        Code by label, in the order of the codes, which says nothing about the labels.
    """
    words = {label: _word(salt, factor, label) for label in labels}
    length = next(n for n in itertools.count(_SHORTEST) if len({w[:n] for w in words.values()}) == len(words))
    found = {label: f"{factor}-{word[:length]}" for label, word in words.items()}
    return dict(sorted(found.items(), key=lambda item: item[1]))


def coded_key(salt: str, key: str) -> str:
    """What stands for the key of a state: the key itself could be looked up.

    >>> coded_key("salt", "3fa1")
    'blind-65dc4c4ddc5bf8cb'
    """
    return f"blind-{_mac(salt, 'key', key).hex()[:16]}"


def commitment(salt: str, labels: Mapping[str, Iterable[str]]) -> str:
    """SHA-256 over the salt and the whole mapping from labels to codes.

    Args:
        salt: The secret.
        labels: Labels by factor.
    """
    mapping = {factor: codes_of(salt, factor, own) for factor, own in labels.items()}
    text = json.dumps({"codes": mapping, "salt": salt}, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def _word(salt: str, factor: str, label: str) -> str:
    """Characters enough that different labels come to differ; a digest has a bias below 2**-200 modulo 20."""
    number = int.from_bytes(_mac(salt, factor, label), "big")
    found = []
    for _ in range(40):
        number, place = divmod(number, len(ALPHABET))
        found.append(ALPHABET[place])
    return "".join(found)


def _mac(salt: str, kind: str, text: str) -> bytes:
    return hmac.new(salt.encode(), f"{kind}\0{text}".encode(), hashlib.sha256).digest()
