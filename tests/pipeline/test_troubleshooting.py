"""The page on troubleshooting has each message of the project, and no other."""

import re
from pathlib import Path

import pytest

from messages import ANY, Message, collect

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/troubleshooting.md").read_text(encoding="utf-8")
OWN, _, OTHERS = PAGE.partition("\n## What DVC")
SECTIONS = re.split(r"^## ", OWN, flags=re.MULTILINE)[1:]
LEAST_MESSAGES = 200
MESSAGES = sorted(set(collect()), key=lambda message: (message.place, message.text))


def read_entries(section: str) -> list[str]:
    """Return the messages that the rows of a section begin with."""
    cells = re.findall(r"^\| (`+)(.+?)\1 \|", section, flags=re.MULTILINE)
    return [text.strip() for _, text in cells]


ENTRIES = [entry for section in SECTIONS for entry in read_entries(section)]


def is_told(message: Message) -> bool:
    """A whole message has a row; what is put into one stands in some line, its fixed parts in order."""
    if message.whole:
        return message.text in ENTRIES
    pattern = ".*".join(re.escape(part) for part in message.text.split(ANY))
    return re.search(pattern, OWN) is not None


def sort_key(entry: str) -> str:
    return re.sub(rf"^[{ANY}\s:;=@.,`]+", "", entry).lower()


def test_the_source_is_read() -> None:
    texts = {message.text for message in MESSAGES}
    assert len(texts) >= LEAST_MESSAGES
    assert {
        "…: no image in it",  # an error's own text
        "the disk is full: free some space and run again",  # out of a table
        "every trial trains for optimize.epochs",  # out of another
        "…: must be …",  # of a function in another module
        "….shift = …: must be less than half of transformation.size = …",  # pydantic's
        "ingestion: …; trying again in … s",  # printed
        "…; the work goes on without it",  # logged
        "Not formatted: run make format",  # make's
        "the AWS profile … does not exist: name one of ~/.aws/config in AWS_PROFILE",  # of DVC's faults
    } <= texts


@pytest.mark.parametrize("place", sorted({message.place.partition(":")[0] for message in MESSAGES}))
def test_the_page_has_each_message_of(place: str) -> None:
    missing = [message for message in MESSAGES if message.place.partition(":")[0] == place]
    rows = [f"{message.place}: | `{message.text}` |" for message in missing if not is_told(message)]
    assert not rows, "docs/troubleshooting.md lacks a row for:\n" + "\n".join(rows)


def test_the_page_has_no_message_that_the_project_does_not_print() -> None:
    texts = {message.text for message in MESSAGES}
    assert [entry for entry in ENTRIES if entry not in texts] == []


def test_each_message_has_one_row_and_a_cure() -> None:
    assert sorted(ENTRIES) == sorted(set(ENTRIES))
    rows = [line for line in PAGE.splitlines() if line.startswith("| ") and not line.startswith("|---")]
    assert [row for row in rows if not re.fullmatch(r"\| .+ \| \S.{5,} \|", row)] == []


@pytest.mark.parametrize("section", SECTIONS, ids=[section.partition("\n")[0] for section in SECTIONS])
def test_the_messages_of_a_section_are_in_alphabetical_order(section: str) -> None:
    entries = read_entries(section)
    assert entries == sorted(entries, key=sort_key)


def test_a_new_message_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import messages  # noqa: PLC0415 - to look at another tree

    (tmp_path / "src").mkdir()
    (tmp_path / "Makefile").write_text('x:\n\t@echo "Nothing to $(VERB): say $$what" >&2\n', encoding="utf-8")
    (tmp_path / "src/added.py").write_text(
        "class AddedError(VisiongateError): pass\n"
        "class DeeperError(added.AddedError): pass\n"
        "WHY = {1: 'for want of it'}\n"
        "FAULTS = [_fault('denied by (.*) to', '{0} does not allow it')]\n"
        "def run(path):\n"
        "    reason = _explain(path)\n"
        "    raise DeeperError(f'{path}: not there: {WHY[1]}, {reason}')\n"
        "def _fault(pattern, meaning):\n"
        "    return pattern, meaning\n"
        "def _explain(path):\n"
        "    for pattern, meaning in FAULTS:\n"
        "        if found := pattern.match(path):\n"
        "            return meaning.format(*found.groups())\n"
        "    return f'lost since {path}'\n"
        "def pass_on(error, name):\n"
        "    print(f'added: {error}', file=sys.stderr)\n"
        "    raise AddedError(f'FROM={name}: {error}')\n",
        encoding="utf-8",
    )
    monkeypatch.setattr(messages, "ROOT", tmp_path)
    messages.read_modules.cache_clear()
    try:
        found = {(message.text, message.whole) for message in messages.collect()}
    finally:
        messages.read_modules.cache_clear()
    assert found == {
        ("…: not there: …, …", True),
        ("for want of it", False),
        ("lost since …", False),
        ("… does not allow it", False),
        ("Nothing to …: say …", True),
    }
