"""``visiongate rollout``: judge the challengers that predict beside the champion, and move them in the registry.

Without ``--apply`` it needs the prediction log only, neither the service nor the registry.
"""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Final

from visiongate import paths
from visiongate.commands.opened_log import open_log
from visiongate.monitoring.decisions import record_decision
from visiongate.monitoring.drift.store import record_rollout
from visiongate.monitoring.rollout import judge_rollout
from visiongate.monitoring.rollout_report import Exposed, RolloutReport, StageReport, keep_deciding
from visiongate.monitoring.rollout_store import read_rollouts
from visiongate.monitoring.times import HOUR_US, now_us
from visiongate.records.files import write_text
from visiongate.settings.serving import Rollout
from visiongate.settings.serving_environment import load_serving

if TYPE_CHECKING:
    from visiongate.registry.rollout import RolloutAliases

DUE: Final = 1


def run(json_file: Path | None, *, apply: bool) -> int:
    """Print the verdicts; return 1 if a challenger is to be promoted or rolled back and ``apply`` is false.

    Raises:
        VisiongateError: A setting is invalid, the log cannot be used, or the registry refuses a move.
    """
    deployment = load_serving(paths.PARAMS, os.environ)
    log, rules = deployment.serving.log, deployment.monitoring.rollout
    with open_log(log) as database:
        evidence = read_rollouts(database.engine, now_us() - round(rules.idle_hours * HOUR_US))
        report = judge_rollout(evidence, rules)
        if apply:
            for stage in keep_deciding(report.stages):
                if stage.verdict == "promote":
                    # What it was promoted by is what its answers are compared with later.
                    record_rollout(database.engine, stage.challenger.sha256, deployment.monitoring.drift)
            report = _apply(report, deployment.serving.rollout)
        record_decision(database.engine, report, log.days)
    print(_render(report))
    if json_file is not None:
        write_text(json_file, report.model_dump_json(indent=2) + "\n")
    return 0 if apply or report.verdict == "hold" else DUE


def _apply(report: RolloutReport, served: Rollout) -> RolloutReport:
    """Move the aliases, and return the report with what was done; it says hold if the registry leaves nothing to do."""
    if report.verdict == "hold":
        return report
    # They import MLflow, which a check does not need.
    from visiongate.adapters.mlflow.store import open_store  # noqa: PLC0415
    from visiongate.registry.rollout import apply_verdict  # noqa: PLC0415
    from visiongate.settings.loading import load_settings  # noqa: PLC0415

    settings = load_settings()
    store, aliases = open_store(settings.tracking), _read_aliases(served)
    stages = keep_deciding(report.stages)
    found = [apply_verdict(store, settings.registry.name, stage, aliases) for stage in stages]
    moves = [move for move in found if move is not None]
    applied = [move.text for move in moves if move.done]
    if applied:
        return report.model_copy(update={"applied": applied})
    return report.model_copy(
        update={"verdict": "hold", "advice": "; ".join(dict.fromkeys(move.text for move in moves))}
    )


def _read_aliases(served: Rollout) -> "RolloutAliases":
    from visiongate.registry.rollout import RolloutAliases  # noqa: PLC0415
    from visiongate.serving.sources.registry_source import parse_address  # noqa: PLC0415

    found = [parse_address(text) if text else None for text in (served.shadow, served.canary)]
    return RolloutAliases(*(address.alias if address else None for address in found))


def _render(report: RolloutReport) -> str:
    lines = [line for stage in report.stages for line in _render_stage(stage)]
    done = [f"registry: {move}" for move in report.applied]
    return "\n".join([*lines, *done, f"{report.verdict}: {report.advice}" if not done else report.verdict])


def _render_stage(stage: StageReport) -> list[str]:
    lines = [f"{stage.stage} {stage.challenger} beside {stage.champion}: {stage.verdict}"]
    lines += [f"  {check.check}: {check.verdict}: {check.reason}" for check in stage.checks]
    if stage.agreement is not None:
        lines.append(
            f"  agreement: {stage.agreement:.1%} of the answers; of the images with labels, {stage.wins} are correct only for "
            f"the challenger and {stage.losses} only for the champion"
        )
    givers = f"by {stage.givers} API keys" if stage.givers else "without API keys"
    lines.append(
        f"  labels: {stage.labels:,} of different images that were asked for, {givers}; {stage.volunteered:,} "
        "that were volunteered do not count"
    )
    did = f"{_render_exposed(stage.challenger_did)}; the champion {_render_exposed(stage.champion_did)}"
    return [*lines, f"  predictions: {did}, since {stage.first:%Y-%m-%d %H:%M} UTC"]


def _render_exposed(did: Exposed) -> str:
    confidence = "" if did.confidence is None else f" with a mean confidence of {did.confidence:.3f}"
    return f"{did.predictions:,}{confidence}"
