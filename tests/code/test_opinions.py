"""What people say about images, weighed."""

import itertools
import random
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import pytest
from scipy.stats import fisher_exact as reference

from visiongate.monitoring.givers import Mark, find_unreliable, fisher_exact
from visiongate.monitoring.opinions import Answer, Doubt, Knowledge, Opinion, is_implausible, weigh
from visiongate.settings.collecting import CollectRules

RULES = CollectRules()
KNOWN = Knowledge(("cat", "dog", "owl"), {"data": "cat"})
CLOCK = itertools.count(1)


def answer(
    label: str,
    by: str | None = None,
    predicted: str = "cat",
    confidence: float = 0.7,
    **changes: Any,  # noqa: ANN401 - as `Answer`
) -> Answer:
    time = next(CLOCK)
    other = confidence if label == predicted else (1 - confidence) / 2
    values = {"sha256": "new", "given_by": by, "probability": other, **changes}
    return Answer(
        f"id-{time}",
        label=label,
        predicted=predicted,
        confidence=confidence,
        classes=3,
        model="pets",
        version="1",
        time_us=time,
        **values,
    )


def judge(*answers: Answer) -> Opinion:
    [opinion] = weigh(answers, KNOWN, RULES).values()
    return opinion


def test_one_person_is_believed_against_an_unsure_answer() -> None:
    opinion = judge(answer("dog", "ada"))
    assert (opinion.label, opinion.doubt, opinion.givers) == ("dog", None, ("ada",))


def test_an_implausible_label_needs_two_people() -> None:
    sure = answer("dog", "ada", confidence=0.99)
    assert judge(sure).doubt is Doubt.IMPLAUSIBLE
    assert judge(sure).detail == "pets 1 answered cat with 99.0%, and this label with 0.50%"
    assert judge(sure, answer("dog", "bob", confidence=0.99)).doubt is None
    # The same person, or nobody knows who, is one voice.
    assert judge(sure, answer("dog", "ada", confidence=0.99)).doubt is Doubt.IMPLAUSIBLE
    nobody = [answer("dog", confidence=0.99) for _ in range(9)]
    assert judge(*nobody).doubt is Doubt.IMPLAUSIBLE


def test_a_confirmed_answer_and_an_image_unlike_the_training_images_are_not_doubted() -> None:
    assert judge(answer("cat", confidence=1.0)).doubt is None
    assert judge(answer("dog", confidence=1.0, unlike=True)).doubt is None


def test_the_last_word_of_a_person_counts() -> None:
    opinion = judge(answer("dog", "ada"), answer("owl", "ada"))
    assert (opinion.label, opinion.doubt) == ("owl", None)


def test_most_voices_decide_and_the_others_are_counted() -> None:
    opinion = judge(answer("dog", "ada"), answer("owl", "bob"), answer("dog", "eve"), answer("owl"))
    assert (opinion.label, opinion.doubt, opinion.givers, opinion.outvoted) == (
        "dog",
        None,
        ("ada", "eve"),
        2,
    )


@pytest.mark.parametrize("names", [("ada", "bob"), (None, None)])
def test_a_tie_is_a_conflict(names: tuple[str | None, str | None]) -> None:
    opinion = judge(answer("dog", names[0]), answer("owl", names[1]))
    assert (opinion.doubt, opinion.detail) == (Doubt.CONFLICTING, "1 for dog, 1 for owl")


def test_an_unknown_class_is_doubted_unless_it_may_become_one() -> None:
    assert judge(answer("elk")).doubt is Doubt.UNKNOWN_CLASS
    [opinion] = weigh([answer("elk")], Knowledge(None, {}), RULES).values()
    assert opinion.doubt is None


def test_the_label_of_the_data_is_contradicted_by_two_or_by_a_person_and_a_model() -> None:
    assert judge(answer("dog", "ada", "owl", sha256="data")).doubt is Doubt.CONTRADICTS_DATA
    assert judge(answer("dog", "ada", "dog", sha256="data")).doubt is None
    two = [answer("dog", name, "owl", sha256="data") for name in ("ada", "bob")]
    assert judge(*two).doubt is None


def stream(seed: int, images: int, liars: Iterable[str]) -> list[Answer]:
    """Let seven people tell about images of their own: a model of 90%, calibrated, of which they correct the mistakes."""
    dice, found = random.Random(seed), []  # noqa: S311 - no secret
    for number in range(images):
        name = "abcdefg"[number % 7]
        confidence = dice.choice([0.6, 0.8, 0.99, 0.99, 0.995, 0.999])
        is_right = dice.random() < confidence
        label = "cat" if is_right else dice.choice(["dog", "owl"])
        if name in liars:
            label = dice.choice(["cat", "dog", "owl"])
        # People say more about mistakes.
        elif is_right and dice.random() < 0.7:
            continue
        found.append(answer(label, name, "cat", confidence, sha256=f"image-{number}"))
    return found


def test_who_contradicts_whatever_was_answered_is_found_out() -> None:
    answers = stream(0, 1400, "c")
    opinions = weigh(answers, KNOWN, RULES)
    lies = [opinions[each.sha256] for each in answers if each.given_by == "c"]
    assert {opinion.doubt for opinion in lies} == {Doubt.UNRELIABLE_GIVER}
    assert lies[0].detail.startswith("c gives implausible labels in ")
    honest = [opinions[each.sha256] for each in answers if each.given_by != "c"]
    assert not any(opinion.doubt is Doubt.UNRELIABLE_GIVER for opinion in honest)
    assert sum(opinion.doubt is None for opinion in honest) > 0.9 * len(honest)


def test_honest_people_are_doubted_no_more_often_than_the_level() -> None:
    doubted = 0
    for seed in range(100):
        opinions = weigh(stream(seed, 700, ""), KNOWN, RULES)
        doubted += any(opinion.doubt is Doubt.UNRELIABLE_GIVER for opinion in opinions.values())
    assert doubted <= 1


def test_an_unreliable_person_has_no_voice_beside_others() -> None:
    known = Knowledge(("cat", "dog"), {f"data-{n}": "cat" for n in range(40)})
    answers = [answer("dog", "liar", "dog", sha256=f"data-{n}") for n in range(20)]
    answers += [answer("cat", "ada", sha256=f"data-{n}") for n in range(20, 40)]
    opinions = weigh([*answers, answer("dog", "liar"), answer("cat", "ada")], known, RULES)
    assert (opinions["new"].label, opinions["new"].doubt) == ("cat", None)
    assert opinions["data-3"].doubt is Doubt.UNRELIABLE_GIVER
    assert opinions["data-3"].detail == (
        "liar is wrong about 20 of 20 images whose class is known, others about 0 of 20"
    )


def test_fewer_answers_than_the_minimum_and_a_person_alone_are_not_judged() -> None:
    few = [Mark("liar", "checked", is_bad=True)] * 9 + [Mark("ada", "checked", is_bad=False)] * 500
    assert find_unreliable(few, RULES) == {}
    assert find_unreliable([Mark("liar", "checked", is_bad=True)] * 50, RULES) == {}
    assert find_unreliable([*few, few[0]], RULES).keys() == {"liar"}


@pytest.mark.parametrize("table", [(3, 10, 2, 50), (10, 10, 0, 10), (0, 5, 9, 30), (40, 400, 30, 900)])
def test_the_exact_test_is_that_of_scipy(table: tuple[int, int, int, int]) -> None:
    bad, total, other_bad, others = table
    expected = reference([[bad, total - bad], [other_bad, others - other_bad]], "greater").pvalue
    assert fisher_exact(*table) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize(
    ("probability", "classes", "is_doubted"),
    [(0.0058, 10, True), (0.0059, 10, False), (0.0526, 2, True), (0.0527, 2, False)],
)
def test_a_label_is_implausible_if_wrong_feedback_is_more_likely(
    probability: float, classes: int, *, is_doubted: bool
) -> None:
    given = replace(answer("dog", probability=probability), classes=classes)
    assert is_implausible(given, RULES) == is_doubted
