"""The stage ``study``: write the settings that the search depends on, and the current values of what it searches.

DVC compares these files instead of ``params.yaml``, so that ``-S model.lr=1e-4`` does not repeat a search over ``model.lr``.
"""

from visiongate import paths
from visiongate.optimization.fingerprint import current_values, study_settings
from visiongate.optimization.space import search_space
from visiongate.records.files import write_json
from visiongate.settings.schema import Settings


def run(settings: Settings) -> None:
    """Check the search space, and write both files.

    Raises:
        SettingsError: The space has a setting that cannot be searched, or an invalid range.
    """
    search_space(settings)
    write_json(paths.STUDY, study_settings(settings))
    write_json(paths.CURRENT, current_values(settings))
