"""References that wait for the database of the prediction log."""

import pytest

from visiongate.monitoring.entries import LoggedModel
from visiongate.monitoring.reference_keeper import KEPT, ReferenceKeeper


def model(number: int) -> LoggedModel:
    return LoggedModel("pets", str(number), f"{number:064x}", ("Cat", "Dog"))


class Database:
    """What was written; it may be away, or refuse everything."""

    def __init__(self) -> None:
        self.written: list[tuple[str | None, bytes]] = []
        self.is_away = self.refuses = False

    def write(self, model: LoggedModel, content: bytes) -> bool:
        if self.is_away:
            raise OSError("away")
        if not self.refuses:
            self.written.append((model.version, content))
        return not self.refuses


def test_each_reference_is_stored_once() -> None:
    keeper, database = ReferenceKeeper(), Database()
    for content in (b"first", b"first"):
        keeper.add(model(1), content)
        keeper.store(database.write)
    assert database.written == [("1", b"first")]
    keeper.add(model(1), b"second")
    keeper.store(database.write)
    assert database.written[1:] == [("1", b"second")]
    assert not keeper


def test_a_database_that_is_away_gets_it_later_and_another_one_gets_all() -> None:
    keeper, database = ReferenceKeeper(), Database()
    keeper.add(model(1), b"first")
    database.is_away = True
    with pytest.raises(OSError, match="away"):
        keeper.store(database.write)
    assert len(keeper) == 1
    database.is_away = False
    keeper.add(model(2), b"second")
    keeper.store(database.write)
    assert database.written == [("1", b"first"), ("2", b"second")]
    keeper.start_again()
    keeper.store(database.write)
    assert database.written[2:] == database.written[:2]


def test_what_is_refused_is_said_once(caplog: pytest.LogCaptureFixture) -> None:
    keeper, database = ReferenceKeeper(), Database()
    database.refuses = True
    keeper.add(model(1), b"first")
    for _ in range(2):
        keeper.store(database.write)
    assert caplog.messages == [
        "prediction log: the database refused the reference of pets; `visiongate drift` has none"
    ]


def test_only_the_last_references_stay_in_memory() -> None:
    keeper, database = ReferenceKeeper(), Database()
    for number in range(KEPT + 3):
        keeper.add(model(number), b"content")
    keeper.store(database.write)
    assert len(database.written) == KEPT + 3
    database.written.clear()
    keeper.start_again()
    keeper.store(database.write)
    assert [version for version, _ in database.written] == [str(number) for number in range(3, KEPT + 3)]
