"""The data stages on a Ray cluster of this machine: the same bytes as in this process, whatever dies meanwhile."""

import errno
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import nullcontext
from functools import partial
from itertools import count
from pathlib import Path
from threading import Timer
from types import ModuleType
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import ray
from ray import cloudpickle

from messy_images import messy_settings, write_messy_table
from visiongate.adapters.ray.cluster import connect
from visiongate.adapters.ray.pieces import MAX_AHEAD, RayEngine
from visiongate.cores import usable_cores
from visiongate.engine.pieces import Engine, LocalEngine, Piece, Result
from visiongate.errors import DataError, EngineError
from visiongate.images.array_files import ArrayFile
from visiongate.images.shards import cut_table
from visiongate.preparation import stage as preparation
from visiongate.records.files import md5_of
from visiongate.settings.engine import Engine as EngineSettings
from visiongate.settings.engine import Resources
from visiongate.transformation import stage as transformation
from visiongate.transformation.rendering import Rendering, RenderPiece, render_piece
from visiongate.validation import stage as validation
from workspaces import ROOT

pytestmark = pytest.mark.slow
STAGES = (validation, preparation, transformation)
WORKERS = (1, 2, 4)
# Workers that are killed in each stage, a dozen in all; starting another takes seconds.
KILLS = 4
# Workers do not see this module's file.
cloudpickle.register_pickle_by_value(sys.modules[__name__])


def engine_settings(**changes: Any) -> EngineSettings:  # noqa: ANN401 - fields
    engine = messy_settings().engine
    small = engine.resources.images.model_copy(update={"memory_mb": 64})
    resources = engine.resources.model_copy(update={"images": small})
    return engine.model_copy(
        update={"kind": "ray", "address": "local", "workers": 4, "resources": resources} | changes
    )


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """The raw table in a workspace, in which all tests run, and the files that the stages write in this process."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("workspace"))
        write_messy_table(Path("data/raw"))
        assert len(cut_table(Path("data/raw"))) > max(WORKERS)
        yield run_stages(LocalEngine())


@pytest.fixture(scope="module")
def cluster(expected: dict[str, str]) -> Iterator[None]:
    """The cluster of this module, for up to four workers."""
    assert expected
    with connect(engine_settings()):
        yield


def ray_engine(workers: int) -> RayEngine:
    return RayEngine(engine_settings(workers=workers))


def run_stages(engine: Engine, stages: Iterable[ModuleType] = STAGES) -> dict[str, str]:
    """Run stages and return the MD5 of each file that they have written, hidden ones included."""
    for stage in stages:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(stage, "open_engine", lambda _: nullcontext(engine))
            stage.run(messy_settings())
    return hash_outputs()


def hash_outputs() -> dict[str, str]:
    files = [file for folder in ("data", "reports") for file in Path(folder).rglob("*") if file.is_file()]
    return {str(file): md5_of(file) for file in sorted(files)}


@pytest.mark.usefixtures("cluster")
@pytest.mark.parametrize("workers", WORKERS)
def test_the_stages_write_the_same_bytes_with_any_number_of_workers(
    workers: int, expected: dict[str, str]
) -> None:
    for folder in ("data/measured", "data/prepared", "data/transformed", "reports"):
        shutil.rmtree(folder)
    assert run_stages(ray_engine(workers)) == expected


def die_at_random(function: Callable[[Piece], Result], piece: Piece, folder: Path) -> Result:
    """Apply a function; in each of the first `KILLS` calls, kill the process at a random moment."""
    victim = next((number for number in range(KILLS) if claim(folder / str(number))), None)
    if victim is None:
        return function(piece)
    delay = np.random.default_rng(victim).uniform(0, 0.05)
    Timer(delay, os.kill, (os.getpid(), signal.SIGKILL)).start()
    while True:
        function(piece)


def claim(file: Path) -> bool:
    try:
        file.touch(exist_ok=False)
    except FileExistsError:
        return False
    return True


class DeadlyEngine:
    """An engine whose workers die."""

    def __init__(self, engine: Engine, folder: Path) -> None:
        self.engine = engine
        self.folder = folder

    def stream(
        self, function: Callable[[Piece], Result], pieces: Iterable[Piece], resources: Resources | None = None
    ) -> Iterator[Result]:
        return self.engine.stream(partial(die_at_random, function, folder=self.folder), pieces, resources)


@pytest.mark.usefixtures("cluster")
@pytest.mark.parametrize("stage", STAGES)
def test_killed_workers_change_nothing(stage: ModuleType, expected: dict[str, str], tmp_path: Path) -> None:
    assert run_stages(DeadlyEngine(ray_engine(2), tmp_path), [stage]) == expected
    assert len(list(tmp_path.iterdir())) == KILLS


def damage_image(number: int, image: bytes) -> None:
    """Replace the prepared images from one on, as no stage would write them."""
    for piece in cut_table(Path("data/prepared"), shards=1):
        if piece.stop > number:
            table = pq.read_table(piece.shards[0])
            images = [image] * len(table)
            pq.write_table(
                table.set_column(0, table.schema.field(0), pa.array(images, pa.binary())), piece.shards[0]
            )


@pytest.mark.usefixtures("cluster")
def test_the_first_damaged_image_in_order_is_named(expected: dict[str, str]) -> None:
    shutil.copytree("data/prepared", "kept")
    try:
        damage_image(100, b"no image")
        messages = []
        for engine in (LocalEngine(), ray_engine(4)):
            with pytest.raises(DataError, match=r"^0\d\d\d\.png: ") as error:
                run_stages(engine, [transformation])
            messages.append(str(error.value))
            assert not list(Path("data/transformed").glob("*.npy"))
        assert messages[0] == messages[1]
    finally:
        shutil.rmtree("data/prepared")
        Path("kept").rename("data/prepared")
    assert run_stages(ray_engine(2), [transformation]) == expected


@pytest.mark.usefixtures("cluster")
def test_a_full_disk_of_a_worker_names_the_file() -> None:
    piece = cut_table(Path("data/raw"))[0]
    length = piece.stop - piece.start
    rendering = Rendering(messy_settings().transformation)
    name = Path("data/transformed/train.npy")
    files = {"train": ArrayFile(Path("/dev/full"), name, (length, *rendering.shape))}
    work = RenderPiece(piece, ("train",) * length, tuple(range(length)))
    with pytest.raises(OSError, match=os.strerror(errno.ENOSPC)) as error:
        list(ray_engine(1).stream(partial(render_piece, files=files, rendering=rendering), [work]))
    assert (error.value.errno, error.value.filename) == (errno.ENOSPC, str(name))


@pytest.mark.usefixtures("cluster")
def test_a_full_object_store_without_its_folder_stops_nothing(expected: dict[str, str]) -> None:
    held = [ray.put(np.zeros(10**7, np.uint8)) for _ in range(12)]
    spilled = list(Path(ray._private.worker._global_node.get_session_dir_path()).glob("ray_spilled*"))  # noqa: SLF001
    for folder in spilled:
        shutil.rmtree(folder)
    assert run_stages(ray_engine(2), [transformation]) == expected
    assert held


@pytest.mark.usefixtures("cluster")
def test_results_are_in_order_and_pieces_are_read_as_needed() -> None:
    read = count()

    def pieces() -> Iterator[int]:
        for piece in range(200):
            next(read)
            yield piece

    results = ray_engine(2).stream(slow_square, pieces())
    assert next(results) == 0
    assert next(read) < 40
    results.close()  # type: ignore[attr-defined]


def slow_square(number: int) -> int:
    time.sleep(0.02 if number else 0.2)
    return number**2


@pytest.mark.usefixtures("cluster")
@pytest.mark.parametrize("slow", [0, 50])
def test_others_go_ahead_of_a_slow_piece_but_not_without_end(slow: int, tmp_path: Path) -> None:
    results = ray_engine(2).stream(partial(wait_for_others, folder=tmp_path, slow=slow), range(100))
    assert list(results) == list(range(100))


def wait_for_others(number: int, folder: Path, slow: int) -> int:
    """Return a number; the slow one waits until as many others have ended as may go ahead of it."""
    (folder / str(number)).touch()
    while number == slow and not (folder / str(slow + 2 * MAX_AHEAD - 1)).exists():
        time.sleep(0.01)
    return number


@pytest.mark.usefixtures("cluster")
def test_a_worker_has_as_many_threads_as_its_cpus() -> None:
    resources = engine_settings().resources.images
    for cpus, threads in ((1.0, 1), (2.0, 2)):
        chosen = resources.model_copy(update={"cpus": cpus})
        assert list(ray_engine(2).stream(count_threads, [0], chosen)) == [min(threads, os.cpu_count() or 1)]


def count_threads(_: int) -> int:
    return usable_cores()


@pytest.mark.usefixtures("cluster")
@pytest.mark.parametrize("change", [{"cpus": 1000.0}, {"gpus": 9.0}, {"memory_mb": 10**9}])
def test_resources_that_no_node_has_are_an_error_at_once(change: dict[str, float]) -> None:
    resources = engine_settings().resources
    images = resources.images.model_copy(update=change)
    settings = engine_settings(resources=resources.model_copy(update={"images": images}))
    with pytest.raises(
        EngineError, match=r"^engine\.resources\.images: .* no node has as much; the largest has "
    ):
        list(RayEngine(settings).stream(slow_square, [1]))


DRIVER = """
import sys
sys.path[:0] = {paths}
import test_ray_engine as here
from visiongate.adapters.ray.cluster import connect

class Told:
    def __init__(self, engine):
        self.engine = engine
    def stream(self, function, pieces, resources=None):
        for result in self.engine.stream(function, pieces, resources):
            print("piece", flush=True)
            yield result

if __name__ == "__main__":
    with connect(here.engine_settings(workers=1)):
        here.run_stages(Told(here.RayEngine(here.engine_settings(workers=1))), [here.transformation])
"""


def test_a_run_after_a_killed_driver_writes_the_same_bytes(expected: dict[str, str], tmp_path: Path) -> None:
    paths = [str(ROOT / "src"), *(path for path in sys.path if path)]
    command = [sys.executable, "-c", DRIVER.format(paths=paths)]
    environment = {**os.environ, "TMPDIR": str(shortest(tmp_path))}
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=environment) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"piece\n"
        process.kill()
    assert hash_outputs() != expected
    # The cluster ends with its driver.
    for _ in range(300):
        if not list_processes(environment["TMPDIR"]):
            break
        time.sleep(0.1)
    assert list_processes(environment["TMPDIR"]) == []
    shutil.rmtree(environment["TMPDIR"])
    assert run_stages(LocalEngine(), [transformation]) == expected


def shortest(folder: Path) -> Path:
    """Return a folder whose path is short enough for a socket."""
    short = Path("/tmp", f"vg-{folder.stat().st_ino}")  # noqa: S108 - removed by the test
    short.mkdir()
    return short


def list_processes(text: str) -> list[int]:
    """Return the processes whose command has a text."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if text.encode() in (process / "cmdline").read_bytes():
                found.append(int(process.name))
        except OSError:
            continue
    return found
