import io

import pytest
from PIL import Image
from visiongate.experiments.figures import draw_by_setting, draw_curves, draw_parallel, draw_values

from tried import EVIDENCE, experiment
from visiongate.experiments.page import Trials, render_experiments
from visiongate.experiments.ranking import Ranking, RankingError, difference, lay_out_ranking, rank, show
from visiongate.experiments.significance import Contest, hold_contest, with_metric
from visiongate.settings.loading import load_settings
from workspaces import ROOT

SETTINGS = load_settings(ROOT / "params.yaml")
BASE = experiment("0123456", 0.6, lr=0.01, model="small", width=32)
TRIED = [
    experiment("middling", 0.7, lr=0.1, model="small", width=32),
    experiment("failed to measure", None, lr=9, model="small", width=32),
    experiment("best", 0.9, lr=0.001, model="large", depth=3),
    experiment("also best", 0.9, lr=0.02, model="small", width=32),
]
RANKING = rank("accuracy", BASE, TRIED, EVIDENCE)
NONE = Contest(None, 4, 0.05, "nothing was compared")


def names(ranking: Ranking) -> list[str]:
    return [row.experiment.name for row in ranking.rows]


def test_the_best_comes_first_and_what_has_no_metric_last() -> None:
    assert names(RANKING) == ["also best", "best", "middling", "failed to measure"]
    assert names(rank("log_loss", BASE, TRIED, EVIDENCE)) == names(RANKING)
    assert RANKING.best is RANKING.rows[0]
    assert RANKING.varied == ["depth", "lr", "model", "width"]


def test_the_table_tells_value_interval_change_verdict_and_settings() -> None:
    header, first, *_, missing, base = lay_out_ranking(RANKING, None).splitlines()
    assert header.split() == [
        "experiment",
        "accuracy",
        "interval",
        "change",
        "gate",
        "settings",
        "that",
        "differ",
    ]
    assert first.split("  ")[0] == "also best"
    assert first.split()[2:] == ["0.9000", "0.8000", "to", "1.0000", "+0.3000", "passes", "lr=0.02"]
    assert missing.split() == ["failed", "to", "measure", "-", "-", "lr=9"]
    assert base.split() == ["(0123456,", "the", "base)", "0.6000", "0.5000", "to", "0.7000", "passes"]
    assert all(len(line) <= 70 for line in lay_out_ranking(RANKING, 70).splitlines())


def test_nothing_to_rank_is_told() -> None:
    with pytest.raises(RankingError, match="no experiment has run yet: make sweep GRID="):
        rank("accuracy", BASE, [], EVIDENCE)
    with pytest.raises(
        RankingError, match=r"METRIC=\$\(x\): no experiment has it; there are accuracy, log_loss"
    ):
        rank("$(x)", BASE, TRIED, EVIDENCE)
    with pytest.raises(RankingError, match="they have no metrics at all"):
        rank("accuracy", BASE, [experiment("bare", None)], EVIDENCE)


def test_a_setting_that_is_gone_differs_too() -> None:
    assert difference({"a": 1, "b": [1], "c": None}, {"a": 1, "b": [2], "d": 0}) == {
        "b": [2],
        "c": "-",
        "d": 0,
    }


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, "null"), (True, "true"), (1e-5, "1e-05"), (0.1 + 0.2, "0.3"), ("x", "x"), ([1], "[1]")],
)
def test_a_value_is_written_as_hydra_reads_it(value: object, text: str) -> None:
    assert show(value) == text


# Is the best better?


def test_the_best_is_better_only_by_more_than_the_luck_of_many() -> None:
    alone = hold_contest(experiment("good", 0.7), BASE, 1, EVIDENCE, SETTINGS)
    assert alone.better
    assert alone.p_value == pytest.approx(2**-6)
    assert (
        "6 of which it alone gets right and 0 the base alone; exact McNemar: p = 0.0156, asked < 0.05"
        in str(alone)
    )
    among_many = hold_contest(experiment("good", 0.7), BASE, 4, EVIDENCE, SETTINGS)
    assert not among_many.better
    assert among_many.p_value == pytest.approx(4 * 2**-6)
    assert "It is not shown to be better than the base" in str(among_many)
    assert "exact McNemar, times 4 tried: p = 0.0625" in str(among_many)
    assert hold_contest(BASE, BASE, 50, EVIDENCE, SETTINGS).p_value == 1


@pytest.mark.parametrize(
    ("other", "reason"),
    [
        (experiment("other", 0.7, lost=True), "the predictions of other are not in DVC's cache"),
        (experiment("other", 0.7, images="new"), "tested on different images"),
    ],
    ids=["lost", "images"],
)
def test_what_cannot_be_compared_is_told(other: object, reason: str) -> None:
    contest = hold_contest(other, BASE, 1, EVIDENCE, SETTINGS)  # type: ignore[arg-type]
    assert (contest.better, contest.p_value) == (False, None)
    assert reason in str(contest)


def test_images_of_one_group_are_no_witnesses() -> None:
    alike = [experiment(name, 0.7, group="one patient") for name in ("one", "two")]
    assert "all test images are of one group" in str(hold_contest(*alike, 1, EVIDENCE, SETTINGS))


def test_other_metrics_are_compared_where_a_test_is_known() -> None:
    loss = with_metric(SETTINGS, "log_loss")
    assert loss is not None
    found = hold_contest(experiment("good", 0.9), BASE, 1, EVIDENCE, loss)
    assert found.comparison is not None
    assert (found.comparison.metric, found.better) == ("log_loss", True)
    assert with_metric(SETTINGS, "ece") is None
    assert with_metric(SETTINGS, "$(x)") is None


# The page


def test_the_figures_are_pictures() -> None:
    pictures = [
        draw_values(RANKING),
        draw_parallel(RANKING),
        draw_curves({"best": [0.1, 0.5]}, "val_accuracy"),
    ]
    by_setting = draw_by_setting(RANKING)
    assert list(by_setting) == ["lr", "depth"]  # model and width change as depth does
    for picture in [*pictures, *by_setting.values()]:
        with Image.open(io.BytesIO(picture)) as image:
            assert image.width == 600
    assert draw_values(RANKING) == draw_values(RANKING)


def test_a_hundred_experiments_of_a_hundred_settings_can_be_drawn() -> None:
    many = [
        experiment(
            f"a rather long name of experiment {place}",
            0.5 + place / 1000,
            **{f"s{place}": place, "x": 10.0**place},
        )
        for place in range(100)
    ]
    ranking = rank("accuracy", experiment("base", None), many, EVIDENCE)
    page = render_experiments(Trials(ranking, NONE, None, {}))
    assert "93 more settings differ, most of them along with these" in page
    assert len(page) < 1_000_000


def test_the_page_escapes_whatever_it_is_told() -> None:
    nasty = "<script>alert(1)</script>$x$"
    bad = experiment(nasty, 0.9, **{nasty: nasty, "lr": None})
    failed = experiment(nasty, None, "failed")
    ranking = rank("accuracy", BASE, [bad], EVIDENCE)
    page = render_experiments(Trials(ranking, NONE, nasty, {nasty: [0.1]}, [failed], {nasty: [nasty]}))
    assert "<script" not in page
    assert "nothing was compared" in page
    assert 'class="bad">failed' in page


def test_the_page_needs_no_metric() -> None:
    ranking = Ranking("accuracy", RANKING.base, RANKING.rows[3:])
    page = render_experiments(Trials(ranking, NONE, None, {}))
    assert "failed to measure" in page
    assert "data:image" not in page
