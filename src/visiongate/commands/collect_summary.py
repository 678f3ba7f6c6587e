"""What `visiongate collect` says."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from visiongate import paths
from visiongate.adapters.git import GitError, Repository
from visiongate.correction.collecting import Plan
from visiongate.correction.review_list import PAGE
from visiongate.monitoring.collection import Feedbacks
from visiongate.records.collected import parse_collected
from visiongate.records.corrections import parse_corrections
from visiongate.records.doubtful_labels import DOUBTFUL_FILE
from visiongate.text_tables import format_table, join_first

MAX_NAMED = 3
# What `dvc add` writes.
TRACKED = paths.COLLECTED_IMAGES.with_suffix(".dvc")


def summarize(plan: Plan, found: Feedbacks, keep: str, *, dry_run: bool) -> Iterator[str]:
    """Yield what was done, what a person should look at, and what to run next, line by line."""
    yield f"{len({answer.sha256 for answer in found.answers}):,} images with feedback"
    yield from format_table(("", "", ""), list(_count(plan))).splitlines()[1:]
    yield from _explain(plan, found, keep)
    if dry_run:
        yield "Nothing was written; leave out --dry-run to do it"
    else:
        yield from list_next_steps(f"Collect {_count_uncommitted():,} labels from feedback")


def _count(plan: Plan) -> Iterator[tuple[str, str, str]]:
    counts = (
        (len(plan.taken), "taken", f"into {paths.COLLECTED} and {paths.COLLECTED_IMAGES}"),
        (len(plan.updated), "relabeled", f"in {paths.COLLECTED}"),
        (len(plan.removed), "removed", f"from {paths.COLLECTED}: now corrections, or doubtful"),
        (len(plan.corrections), "corrections", f"of images of the data, into {paths.CORRECTIONS}"),
        (len(plan.withdrawn), "withdrawn", f"from {paths.CORRECTIONS}: the feedback changed"),
        (len(plan.doubtful), "doubtful", f"into {paths.COLLECT / DOUBTFUL_FILE}, not for training"),
        (plan.known, "known", "with this label"),
        (plan.decided, "decided", "by a person, which feedback does not change"),
        (len(plan.missing), "without image", "on the service"),
    )
    for count, name, what in counts:
        if count or name == "taken":
            yield f"{count:>7,}", name, what


def _explain(plan: Plan, found: Feedbacks, keep: str) -> Iterator[str]:
    """Yield what a person should know or do."""
    for doubt, count in Counter(label.doubt for label in plan.doubtful).most_common():
        labels = [label for label in plan.doubtful if label.doubt == doubt]
        named = join_first(
            (f"{each.sha256[:12]} {each.label}: {each.detail}" for each in labels), MAX_NAMED, "; "
        )
        yield f"doubtful, {doubt} ({count}): {named}"
    if plan.doubtful:
        yield (
            f"Look at {paths.COLLECT / PAGE}, then run `visiongate collect --accept SHA256`, `--accept SHA256=CLASS` or "
            "`--reject SHA256`"
        )
    if any(label.doubt == "unknown_class" for label in plan.doubtful):
        yield "To add a class that the data lack, set dataset.new_classes=true and accept its images"
    if plan.outvoted:
        yield f"{plan.outvoted} answers contradict those of most others"
    if plan.missing:
        yield (
            f"without image: the service keeps images by serving.log.images.keep, which is {keep!r} here; set it to 'all', "
            "'unsure' or 'sample' for the service (docs/feedback-loop.md)"
        )
    if found.without_file:
        yield f"{found.without_file} answers are about requests without an image file, which cannot be collected"


def _count_uncommitted() -> int:
    """Return how many labels are new or differ from the last commit, those of earlier runs, too."""
    collected = _find_uncommitted(paths.COLLECTED, parse_collected)
    return len(collected) + len(_find_uncommitted(paths.CORRECTIONS, parse_corrections))


def _find_uncommitted(path: Path, parse: Callable[[bytes], Mapping[str, object]]) -> list[str]:
    """Return the sha256 of the rows that the last commit does not have."""
    try:
        text = Repository(Path.cwd()).read("HEAD", path)
    except GitError:
        text = None
    committed = parse(text.encode()) if text else {}
    return [sha256 for sha256, row in parse(path.read_bytes()).items() if committed.get(sha256) != row]


def list_next_steps(message: str) -> Iterator[str]:
    """Yield the commands to run next, which work as they are; none if the tables are committed."""
    repository = Repository(Path.cwd())
    changed = [path for path in (paths.COLLECTED, paths.CORRECTIONS) if repository.differs(path)]
    if not changed:
        return
    yield "Next:"
    if paths.COLLECTED in changed and paths.COLLECTED_IMAGES.is_dir():
        yield f"  dvc add {paths.COLLECTED_IMAGES}"
        changed.append(TRACKED)
    yield f'  git add {" ".join(map(str, changed))} && git commit -m "{message}"'
    yield "  visiongate repro"
