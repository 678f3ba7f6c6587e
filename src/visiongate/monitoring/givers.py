"""API keys whose labels are less reliable than those of the others."""

import math
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, Literal

from visiongate.settings.collecting import CollectRules

Kind = Literal["checked", "contradicting"]
WORDS: Final[dict[Kind, str]] = {
    "checked": "{name} is wrong about {bad} of {total} images whose class is known, others about {other_bad} of {others}",
    "contradicting": "{name} gives implausible labels in {bad} of {total} corrections, others in {other_bad} of {others}",
}


@dataclass(frozen=True, slots=True)
class Mark:
    """What an image says about a key.

    Attributes:
        giver: The name of the key.
        kind: `checked`: its label is known to be right or wrong. `contradicting`: its label contradicts an answer.
        is_bad: Whether the label is wrong, or implausible.
    """

    giver: str
    kind: Kind
    is_bad: bool


def find_unreliable(marks: Iterable[Mark], rules: CollectRules) -> dict[str, str]:
    """Return the keys with significantly more bad marks than all others together, with the reason in words.

    Each key and kind is tested by Fisher's exact test, one-sided, at the level of the settings divided by the number of tests
    (Bonferroni). A key alone cannot be compared.
    """
    counts = Counter((mark.giver, mark.kind, mark.is_bad) for mark in marks)
    pairs = sorted({(giver, kind) for giver, kind, _ in counts})
    found: dict[str, str] = {}
    for giver, kind in pairs:
        bad, good = (counts[giver, kind, is_bad] for is_bad in (True, False))
        all_bad, all_good = (_total(counts, kind, is_bad=is_bad) for is_bad in (True, False))
        total, others = bad + good, all_bad + all_good - bad - good
        if total < rules.min_answers or not others:
            continue
        if fisher_exact(bad, total, all_bad - bad, others) <= rules.level / len(pairs):
            words = {"bad": bad, "total": total, "other_bad": all_bad - bad, "others": others}
            found.setdefault(giver, WORDS[kind].format(name=giver, **words))
    return found


def fisher_exact(bad: int, total: int, other_bad: int, others: int) -> float:
    """Return the probability of at least ``bad`` bad ones of ``total``, if the bad ones of both groups are spread by chance."""
    everything, all_bad = total + others, bad + other_bad
    ways = math.comb(everything, total)
    most = min(total, all_bad)
    tail = sum(
        math.comb(all_bad, k) * math.comb(everything - all_bad, total - k) for k in range(bad, most + 1)
    )
    return tail / ways


def _total(counts: Counter[tuple[str, Kind, bool]], kind: Kind, *, is_bad: bool) -> int:
    return sum(count for (_, each, bad), count in counts.items() if each == kind and bad == is_bad)
