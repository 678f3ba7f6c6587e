"""A prediction log with all that a report shows."""

import json

import numpy as np
from sqlalchemy import insert

from visiongate.monitoring.database import Database
from visiongate.monitoring.entries import Feedback, LoggedModel, LoggedPrediction, new_prediction_id
from visiongate.monitoring.tables import decisions, drift_checks
from visiongate.monitoring.times import HOUR_US, now_us

CLASSES = ("Cat", "Dog", "<b>Owl</b>")
CHAMPION, CHALLENGER, SHADOW = (LoggedModel("pets", number, number * 64, CLASSES) for number in "345")
ADVICE = "look at the camera; run `visiongate retrain-check`"


def fill_log(address: str) -> None:
    """Record a day of answers: a champion, a canary and a shadow, with sampled and volunteered feedback."""
    database, generator = Database(address), np.random.default_rng(0)
    now, entries, given = now_us(), [], []
    for number in range(400):
        asked, canary, right = number % 4 == 0, number % 5 == 0, generator.random() < 0.9
        answer = LoggedPrediction(
            new_prediction_id(),
            CHALLENGER if canary else CHAMPION,
            str(generator.choice(CLASSES)),
            float(generator.beta(6, 1)),
            20.0,
            role="canary" if canary else "active",
            asked=asked,
            time_us=now - number * HOUR_US // 20,
        )
        entries.append(answer)
        if number < 40:
            beside = (new_prediction_id(), SHADOW, answer.predicted, 0.9, 20.0)
            entries.append(
                LoggedPrediction(
                    *beside, role="shadow", shadow_of=answer.prediction_id, time_us=answer.time_us
                )
            )
        if (asked and number % 8 == 0) or not right:
            truth = answer.predicted if right else next(each for each in CLASSES if each != answer.predicted)
            key = "phone" if number % 3 else "kiosk"
            given.append(Feedback(answer.prediction_id, truth, given_by=key))
    assert database.write(entries) == 0
    for each in given:
        database.record_feedback(each)
    values = {
        "time_us": now,
        "verdict": "drift",
        "report": json.dumps({"verdict": "drift", "advice": ADVICE}),
    }
    with database.engine.begin() as connection:
        connection.execute(insert(drift_checks).values(values))
        connection.execute(insert(decisions).values(kind="rollout", **values | {"verdict": "hold"}))
    database.close()
