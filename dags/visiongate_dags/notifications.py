"""Send the summary of a run where a connection is set: ``visiongate_slack``, ``visiongate_smtp``."""

import html
import logging
from collections.abc import Sequence

from airflow.sdk import BaseHook
from airflow.sdk.exceptions import AirflowNotFoundException

from visiongate_dags.summary import RunSummary

SLACK = "visiongate_slack"
SMTP = "visiongate_smtp"

logger = logging.getLogger(__name__)


def send(summary: RunSummary, emails: Sequence[str]) -> None:
    """Write the summary to the log, and send it by Slack and e-mail if their connections are set.

    Raises:
        Exception: As Airflow's providers.
    """
    logger.info("%s", summary.format())
    if _is_set(SLACK):
        _send_to_slack(summary)
    if emails and _is_set(SMTP):
        _send_by_email(summary, emails)
    elif emails:
        logger.warning("No e-mail is sent to %s: the connection %s is not set", ", ".join(emails), SMTP)


def _send_to_slack(summary: RunSummary) -> None:
    # Imported here, because most installations do not need it.
    from airflow.providers.slack.hooks.slack_webhook import SlackWebhookHook  # noqa: PLC0415

    SlackWebhookHook(slack_webhook_conn_id=SLACK).send_text(summary.format())
    logger.info("Sent to Slack")


def _send_by_email(summary: RunSummary, emails: Sequence[str]) -> None:
    from airflow.providers.smtp.hooks.smtp import SmtpHook  # noqa: PLC0415

    with SmtpHook(smtp_conn_id=SMTP) as hook:
        hook.send_email_smtp(
            to=list(emails), subject=summary.title, html_content=f"<pre>{html.escape(summary.format())}</pre>"
        )
    logger.info("Sent to %s", ", ".join(emails))


def _is_set(connection: str) -> bool:
    try:
        BaseHook.get_connection(connection)
    except AirflowNotFoundException:
        return False
    return True
