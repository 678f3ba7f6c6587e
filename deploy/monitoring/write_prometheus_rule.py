# ruff: noqa: INP001 - a script
"""Write ``prometheus/rules.yaml`` as ``kubernetes/prometheus-rule.yaml``, a manifest for the Prometheus Operator."""

from pathlib import Path
from textwrap import indent

FOLDER = Path(__file__).parent
RULES, MANIFEST = FOLDER / "prometheus/rules.yaml", FOLDER / "kubernetes/prometheus-rule.yaml"
HEAD = """\
# Written by `python deploy/monitoring/write_prometheus_rule.py` from prometheus/rules.yaml; change that file.
apiVersion: monitoring.coreos.com/v1
kind: PrometheusRule
metadata:
  name: visiongate
  labels: {app.kubernetes.io/name: visiongate, app.kubernetes.io/component: monitoring}
spec:
"""


def render(rules: str) -> str:
    """Return the manifest of a rule file, with its comments."""
    _, start, groups = rules.partition("groups:\n")
    return HEAD + indent(start + groups, "  ")


if __name__ == "__main__":
    MANIFEST.write_text(render(RULES.read_text(encoding="utf-8")), encoding="utf-8")
