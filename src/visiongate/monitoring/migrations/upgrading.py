"""Bring the tables of an open database to the newest revision, by Alembic."""

from pathlib import Path
from typing import Any, Final

from alembic.config import Config
from alembic.runtime.environment import EnvironmentContext
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from sqlalchemy import Connection

from visiongate.errors import SettingsError
from visiongate.monitoring.address import SETTING
from visiongate.monitoring.tables import schema_version

_FOLDER: Final = Path(__file__).parent


def upgrade(connection: Connection, revision: str = "head") -> None:
    """Run the migrations that a database lacks, in the transaction of a connection.

    Args:
        connection: In a transaction that keeps others from migrating.
        revision: The last migration to run.

    Raises:
        SettingsError: A newer version of this program has migrated the database.
        SQLAlchemyError: The database cannot be changed.
    """
    config = Config()
    # A percent sign would be a reference to another option.
    config.set_main_option("script_location", str(_FOLDER).replace("%", "%%"))
    scripts = ScriptDirectory.from_config(config)

    def steps(current: Any, _: object) -> Any:  # noqa: ANN401 - as Alembic types them
        return scripts._upgrade_revs(revision, current)  # noqa: SLF001 - as `alembic.command.upgrade` calls it

    with EnvironmentContext(config, scripts, fn=steps) as environment:
        environment.configure(connection=connection, version_table=schema_version.name)
        try:
            environment.run_migrations()
        except CommandError:
            found = environment.get_context().get_current_revision()
            raise SettingsError(
                f"{SETTING}: a newer version of visiongate has made the tables, revision {found};"
                f" this one knows {scripts.get_current_head()}: update it, or name another database"
            ) from None
