"""Store the files of images behind the answers, by one thread, in a folder or a bucket, and delete old ones.

Nothing here makes an answer wait or fail. Images wait in memory, as many bytes as a setting allows. While the folder is full or
the bucket is away, the thread tries again with growing pauses; what no longer fits is dropped and counted.
"""

import logging
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from itertools import islice
from threading import Condition, Thread
from typing import Final

from visiongate.monitoring.kept_images import EncodedImage, KeptFile, open_kept_images
from visiongate.monitoring.times import DAY_US
from visiongate.settings.serving import KeptImages as Settings

# Images that are written at the same time.
BATCH: Final = 16
# Before the second try to write, doubled with each further one up to the second number.
FIRST_PAUSE, LONGEST_PAUSE = 0.5, 30.0
# Between two looks at all files, and between two looks if there are too many or a look has failed.
PRUNE_SECONDS, PRUNE_SOON_SECONDS = 600.0, 10.0
# Too many files are reduced to this share of the limit, so that few images lead to a look at all files.
REDUCED: Final = 0.95
# How many of the images that this process has written are known, and how long they need not be written again.
RECENT, RECENT_SECONDS = 10_000, 3600.0
# Why an image was not stored: the store is too slow, it cannot be written, or the service ended.
DROP_REASONS: Final = ("slow", "unavailable", "closed")
logger = logging.getLogger(__name__)


class ImageStore:
    """Stores images.

    Attributes:
        stored: Images that were stored.
        dropped: Images that were not, by reason (`DROP_REASONS`).
    """

    def __init__(self, settings: Settings, find_labeled: Callable[[], frozenset[str]]) -> None:
        """Prepare the store; `start` starts to write.

        Args:
            settings: Where, how many, and for how long.
            find_labeled: Returns the sha256 of the images that have feedback: if there are too many images, they are the last
                to be deleted. It may raise an error.

        Raises:
            DataError: A package for the address is missing.
        """
        self.stored = 0
        self.dropped = dict.fromkeys(DROP_REASONS, 0)
        self._settings, self._find_labeled = settings, find_labeled
        self._queue: deque[EncodedImage] = deque()
        self._waiting_bytes = 0
        # Guards all of the above, and wakes the thread.
        self._changed = Condition()
        self._closing = False
        self._fault: str | None = None
        self._images = open_kept_images(settings.folder)
        # When each image was written.
        self._recent: dict[str, float] = {}
        self._size = 0
        self._prune_at = self._prune_soon_at = 0.0
        self._is_stuck = False
        self._thread = Thread(target=self._run, name="image-store", daemon=True)

    @property
    def waiting_bytes(self) -> int:
        """Bytes of images that are not yet stored."""
        return self._waiting_bytes

    @property
    def fault(self) -> str | None:
        """Why images cannot be stored; None if they can."""
        return self._fault

    def start(self) -> None:
        """Start the thread that writes."""
        self._thread.start()

    def put(self, image: EncodedImage) -> bool:
        """Store an image, and return whether it is accepted. Never waits and never raises."""
        with self._changed:
            if self._closing or self._waiting_bytes + len(image.content) > self._settings.queue_bytes:
                self.dropped[self._reason()] += 1
                return False
            self._queue.append(image)
            self._waiting_bytes += len(image.content)
            self._changed.notify()
        return True

    def close(self, seconds: float = 5.0) -> None:
        """Store what waits, for a limited time, and end the thread. Images that still wait then are dropped."""
        with self._changed:
            self._closing = True
            self._changed.notify()
        if self._thread.ident is not None:
            self._thread.join(seconds)
        with self._changed:
            lost = len(self._queue)
            self.dropped["closed"] += lost
            self._queue.clear()
            self._waiting_bytes = 0
        if lost:
            logger.warning("images: %d were not stored before the end", lost)

    def _reason(self) -> str:
        if self._closing:
            return "closed"
        return "slow" if self._fault is None else "unavailable"

    def _run(self) -> None:
        """Write until the store is closed."""
        pause = FIRST_PAUSE
        while (images := self._take()) or not self._closing:
            try:
                self._write(images)
            except Exception as error:  # noqa: BLE001 - whatever a file system or a bucket's client raises must not end the thread
                if not self._stumble(error, pause):
                    break
                pause = min(2 * pause, LONGEST_PAUSE)
            else:
                pause = FIRST_PAUSE
                self._prune()

    def _take(self) -> list[EncodedImage]:
        """Wait for images and return the next ones, which stay in the queue; none if it is time to delete some."""
        with self._changed:
            wait = max(0.0, self._prune_at - time.monotonic())
            self._changed.wait_for(lambda: self._queue or self._closing, wait)
            return list(islice(self._queue, BATCH))

    def _write(self, images: Sequence[EncodedImage]) -> None:
        now = time.monotonic()
        new = {
            image.sha256: image
            for image in images
            if now - self._recent.get(image.sha256, -RECENT_SECONDS) >= RECENT_SECONDS
        }
        if new:
            self._images.write(list(new.values()))
        for image in new.values():
            self._size += len(image.content)
            self._recent.pop(image.sha256, None)
            self._recent[image.sha256] = now
        while len(self._recent) > RECENT:
            del self._recent[next(iter(self._recent))]
        with self._changed:
            # Empty if the store was closed in the meantime.
            for _ in range(min(len(images), len(self._queue))):
                self._waiting_bytes -= len(self._queue.popleft().content)
                self.stored += 1
            recovered = images and self._fault is not None
            if images:
                self._fault = None
        if recovered:
            logger.info("images: they are stored again; %d were lost so far", self.dropped["unavailable"])

    def _stumble(self, error: Exception, pause: float) -> bool:
        """Note that images cannot be stored, and wait; return whether to try again."""
        with self._changed:
            first, self._fault = self._fault is None, str(error)
        if first:
            logger.warning(
                "images: %s; answers go on, and up to %d bytes of images wait (serving.log.images.queue_bytes)",
                self._fault,
                self._settings.queue_bytes,
            )
        with self._changed:
            return not self._changed.wait_for(lambda: self._closing, pause)

    def _prune(self) -> None:
        """Delete images if it is time to. What fails is tried again soon, and images are stored meanwhile."""
        now = time.monotonic()
        if self._size > self._settings.max_bytes:
            self._prune_at = min(self._prune_at, self._prune_soon_at)
        if now < self._prune_at:
            return
        self._prune_soon_at = now + PRUNE_SOON_SECONDS
        try:
            self._delete_old()
        except Exception as error:  # noqa: BLE001 - as in `_run`
            self._prune_at = self._prune_soon_at
            if not self._is_stuck:
                logger.warning("images: old ones are not deleted: %s", error)
            self._is_stuck = True
        else:
            self._prune_at = now + PRUNE_SECONDS
            self._is_stuck = False

    def _delete_old(self) -> None:
        """Delete the images that are too old, and the oldest ones beyond the size."""
        oldest = time.time() - self._settings.days * DAY_US / 1e6
        files = list(self._images.files())
        self._delete({each.sha256 for each in files if each.seen_at < oldest})
        files = [each for each in files if each.seen_at >= oldest]
        size, limit = sum(each.bytes for each in files), self._settings.max_bytes
        if size > limit:
            surplus = _choose_surplus(files, size - int(REDUCED * limit), self._find_labeled())
            self._delete(surplus)
            size -= sum(each.bytes for each in files if each.sha256 in surplus)
        self._size = size

    def _delete(self, images: Iterable[str]) -> None:
        for sha256 in images:
            self._images.delete(sha256)
            self._recent.pop(sha256, None)


def _choose_surplus(files: Iterable[KeptFile], surplus: int, labeled: frozenset[str]) -> set[str]:
    """Return the images to delete for so many bytes: the oldest ones, and those with feedback last."""
    chosen: set[str] = set()
    for file in sorted(files, key=lambda each: (each.sha256 in labeled, each.seen_at)):
        if surplus <= 0:
            break
        chosen.add(file.sha256)
        surplus -= file.bytes
    return chosen
