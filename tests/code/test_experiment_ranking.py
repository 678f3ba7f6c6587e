import io

import pytest
from PIL import Image

from made_experiments import READER, make_experiment
from page_structure import check_page
from visiongate.experiments.figures import draw_metric, draw_settings, varied_settings
from visiongate.experiments.listing import Experiment
from visiongate.experiments.page import ExperimentReport, render_experiments
from visiongate.experiments.ranking import (
    Ranking,
    RankingError,
    find_differences,
    format_ranking,
    format_setting,
    rank_experiments,
    shorten_changes,
)
from visiongate.experiments.significance import (
    SignificanceTest,
    compare_with_baseline,
    registry_with_metric,
)
from visiongate.settings.loading import load_settings
from workspaces import ROOT

SETTINGS = load_settings(ROOT / "params.yaml")
BASELINE = make_experiment("0123456", 0.6, lr=0.01, model="small", width=32)
EXPERIMENTS = [
    make_experiment("middling", 0.7, lr=0.1, model="small", width=32),
    make_experiment("without metric", None, lr=9, model="small", width=32),
    make_experiment("best", 0.9, lr=0.001, model="large", depth=3),
    make_experiment("also best", 0.9, lr=0.02, model="small", width=32),
]
RANKING = rank_experiments("accuracy", BASELINE, EXPERIMENTS, READER)
NOT_COMPARED = SignificanceTest(None, 4, 0.05, "nothing was compared")


def names(ranking: Ranking) -> list[str]:
    return [ranked.experiment.name for ranked in ranking.experiments]


def test_best_comes_first_and_those_without_the_metric_last() -> None:
    assert names(RANKING) == ["also best", "best", "middling", "without metric"]
    assert names(rank_experiments("log_loss", BASELINE, EXPERIMENTS, READER)) == names(RANKING)
    assert RANKING.best is RANKING.experiments[0]
    assert RANKING.varied == ["depth", "lr", "model", "width"]
    assert RANKING.tried == 4


def test_best_is_on_the_data_set_of_the_baseline() -> None:
    other = make_experiment("photos", 1.0, lr=0.01, model="small", width=32, **{"dataset.path": "/photos"})
    ranking = rank_experiments("accuracy", BASELINE, [*EXPERIMENTS, other], READER)
    assert names(ranking)[0] == "photos"
    assert ranking.best is ranking.experiments[1]
    assert "+0.4" not in format_ranking(ranking, None)
    changes = {"dataset.name": "pets", "dataset.path": "/pets", "dataset.url": None, "model.lr": 0.1}
    assert shorten_changes(changes) == {"dataset": "pets", "model.lr": 0.1}
    assert shorten_changes({"dataset.limit": 9}) == {"dataset.limit": 9}
    alone = rank_experiments("accuracy", BASELINE, [other], READER)
    assert alone.best is alone.experiments[0]


def test_table_has_value_interval_change_gate_and_settings() -> None:
    _, first, *_, missing, baseline = format_ranking(RANKING, None).splitlines()
    assert first.split("  ")[0] == "also best"
    assert first.split()[2:] == ["0.9000", "0.8000", "to", "1.0000", "+0.3000", "passed", "lr=0.02"]
    assert missing.split() == ["without", "metric", "-", "-", "lr=9"]
    assert baseline.split() == ["(0123456,", "baseline)", "0.6000", "0.5000", "to", "0.7000", "passed"]
    assert all(len(line) <= 70 for line in format_ranking(RANKING, 70).splitlines())


@pytest.mark.parametrize(
    ("metric", "experiments", "named"),
    [
        ("accuracy", [], "visiongate sweep"),
        ("$(x)", EXPERIMENTS, r"\$\(x\).*accuracy, log_loss"),
        ("accuracy", [make_experiment("bare", None)], "none"),
    ],
)
def test_nothing_to_rank_raises(metric: str, experiments: list[Experiment], named: str) -> None:
    with pytest.raises(RankingError, match=named):
        rank_experiments(metric, BASELINE, experiments, READER)


def test_differences_include_removed_settings() -> None:
    differences = find_differences({"a": 1, "b": [1], "c": None}, {"a": 1, "b": [2], "d": 0})
    assert differences == {"b": [2], "d": 0, "c": "-"}


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, "null"), (True, "true"), (1e-5, "1e-05"), (0.1 + 0.2, "0.3"), ("x", "x"), ([1], "[1]")],
)
def test_setting_is_formatted_as_hydra_reads_it(value: object, text: str) -> None:
    assert format_setting(value) == text


# Significance


def compare(best: Experiment, tried: int = 1) -> SignificanceTest:
    return compare_with_baseline(best, BASELINE, tried, READER, SETTINGS.registry)


def test_p_value_is_corrected_for_the_number_of_experiments() -> None:
    alone = compare(make_experiment("good", 0.7))
    assert alone.better
    assert alone.p_value == pytest.approx(2**-6)
    among_many = compare(make_experiment("good", 0.7), tried=4)
    assert not among_many.better
    assert among_many.p_value == pytest.approx(4 * 2**-6)
    assert str(among_many).startswith("Not shown to be better")
    assert compare(BASELINE, tried=50).p_value == 1


@pytest.mark.parametrize(
    ("best", "reason"),
    [
        (make_experiment("other", 0.7, missing=True), "predictions of other"),
        (make_experiment("other", 0.7, images="new"), "images differ"),
        (make_experiment("other", 0.7, classes=3), "classes differ"),
    ],
    ids=["missing", "images", "classes"],
)
def test_models_that_cannot_be_compared_have_a_reason(best: Experiment, reason: str) -> None:
    test = compare(best)
    assert (test.better, test.p_value) == (False, None)
    assert reason in str(test)


def test_images_of_one_group_cannot_be_compared() -> None:
    one, two = (make_experiment(name, 0.7, group="one patient") for name in ("one", "two"))
    assert "one group" in str(compare_with_baseline(one, two, 1, READER, SETTINGS.registry))


def test_metric_with_a_paired_test_replaces_that_of_the_registry() -> None:
    registry = registry_with_metric(SETTINGS, "log_loss")
    assert registry is not None
    test = compare_with_baseline(make_experiment("good", 0.9), BASELINE, 1, READER, registry)
    assert test.comparison is not None
    assert (test.comparison.metric, test.better) == ("log_loss", True)
    assert registry_with_metric(SETTINGS, "ece") is None
    assert registry_with_metric(SETTINGS, "$(x)") is None


# The page


def test_plots_are_reproducible_pictures() -> None:
    # The model and the width change together with the depth.
    assert varied_settings(RANKING) == ["lr", "depth"]
    for draw in (lambda: draw_metric(RANKING), lambda: draw_settings(RANKING, "slice")):
        content = draw()
        with Image.open(io.BytesIO(content)) as image:
            assert image.width > 500
        assert draw() == content


def test_a_hundred_experiments_with_a_hundred_settings_are_drawn() -> None:
    many = [
        make_experiment(
            f"a rather long name of experiment {index}",
            0.5 + index / 1000,
            **{f"s{index}": index, "x": 10.0**index},
        )
        for index in range(100)
    ]
    ranking = rank_experiments("accuracy", make_experiment("base", None), many, READER)
    page = render_experiments(ExperimentReport(ranking, NOT_COMPARED))
    assert "95 more settings differ" in page
    assert len(page) < 1_500_000


def test_page_escapes_names_and_lists_failed_experiments() -> None:
    nasty = "<script>alert(1)</script>$x$"
    ranking = rank_experiments(
        "accuracy", BASELINE, [make_experiment(nasty, 0.9, **{nasty: nasty, "lr": None})], READER
    )
    failed = make_experiment(nasty, None, "failed")
    page = render_experiments(ExperimentReport(ranking, NOT_COMPARED, [failed]))
    assert nasty in check_page(page).text
    assert "nothing was compared" in page
    assert 'class="bad">' in page


def test_page_without_the_metric_has_no_plots() -> None:
    ranking = Ranking("accuracy", RANKING.baseline, RANKING.experiments[3:])
    page = render_experiments(ExperimentReport(ranking, NOT_COMPARED))
    assert "without metric" in page
    assert "data:image" not in page


def test_adopting_is_recommended_only_if_the_best_is_better() -> None:
    ranking = rank_experiments("accuracy", BASELINE, [make_experiment("good", 0.9, lr=0.1)], READER)
    better = compare(make_experiment("good", 0.9))
    assert "visiongate adopt" in render_experiments(ExperimentReport(ranking, better))
    assert "visiongate adopt" not in render_experiments(ExperimentReport(ranking, NOT_COMPARED))


def test_a_lone_or_a_worse_experiment_is_not_called_the_best() -> None:
    lone = rank_experiments("accuracy", BASELINE, [make_experiment("good", 0.9)], READER)
    assert lone.best is not None
    assert lone.headline(lone.best).startswith("The only experiment: good, accuracy 0.9000.")
    worse = rank_experiments(
        "accuracy", BASELINE, [make_experiment("a", 0.4), make_experiment("b", 0.3)], READER
    )
    assert worse.marked is None
    assert worse.best is not None
    assert worse.headline(worse.best) == (
        "No experiment reaches the baseline; the nearest is a, accuracy 0.4000, whose gate FAILED."
    )
    page = check_page(render_experiments(ExperimentReport(worse, NOT_COMPARED))).text
    assert "No experiment reaches the baseline" in page
    assert "(best)" not in page
    assert RANKING.marked is RANKING.best
    assert "also best (best)" in check_page(render_experiments(ExperimentReport(RANKING, NOT_COMPARED))).text


def test_experiment_whose_gate_failed_is_not_advised() -> None:
    ranking = rank_experiments(
        "log_loss", make_experiment("base", 0.1), [make_experiment("low", 0.45)], READER
    )
    report = ExperimentReport(ranking, compare(make_experiment("good", 0.9)))
    assert report.significance.better
    assert not report.advised
    assert "visiongate adopt" not in render_experiments(report)
