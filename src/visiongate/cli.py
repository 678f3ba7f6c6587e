"""The command line, ``visiongate``: options, help and exit statuses of every command.

Each command calls a function of a module in `visiongate.commands`, which takes the options by name and returns the exit status.
The module is imported when the command runs, so that ``--help`` imports nothing but click.
"""

import os
import shlex
import signal
import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from types import FrameType

import click

from visiongate import logs
from visiongate.errors import VisiongateError

EPILOG = """\
\b
Exit status:
  0    success
  1    the answer is no: the gate failed, params.yaml is out of date, an experiment failed, a file could not be read
  2    the command could not run; the message names the cause and the fix
  130  interrupted

Shell completion: eval "$(_VISIONGATE_COMPLETE=bash_source visiongate)", or zsh_source, fish_source.
"""
# The file at the root of a repository.
PIPELINE = "dvc.yaml"
# The extra `serve` is enough for these, without the options that need MLflow.
SERVING_COMMANDS = {"serve", "drift", "performance", "retrain_check", "rollout"}
FAILED = 2
INTERRUPTED = 130
# The first process of a container is one that no signal ends, unless it handles it.
FIRST_PROCESS = 1
SIGNALED = 128
IMAGE = "ghcr.io/OWNER/visiongate/serve@sha256:DIGEST"
FOLDER = click.Path(path_type=Path, file_okay=False)
FILE = click.Path(path_type=Path, dir_okay=False)


def _dispatch(module: str, function: str = "run") -> Callable[..., None]:
    """Return a callback that runs a function of a command's module and exits with the status that it returns."""

    def callback(**options: object) -> None:
        context = click.get_current_context()
        try:
            status = getattr(import_module(f"visiongate.commands.{module}"), function)(**options)
        except VisiongateError as error:
            if context.find_root().params["debug"]:
                raise
            click.echo(f"{context.command_path}: {error}", err=True)
            status = FAILED
        except ModuleNotFoundError as error:
            package = (error.name or "visiongate").partition(".")[0]
            if context.find_root().params["debug"] or package == "visiongate":
                raise
            extra = "serve" if module in SERVING_COMMANDS and package != "mlflow" else "pipeline"
            fix = f"pip install 'visiongate[{extra}]'"
            click.echo(f"{context.command_path}: {package!r} is not installed; run: {fix}", err=True)
            status = FAILED
        except KeyboardInterrupt:
            click.echo(f"\n{context.command_path}: interrupted; the same command resumes it", err=True)
            status = INTERRUPTED
        context.exit(status)

    return callback


def _command(
    name: str, callback: Callable[..., None], summary: str, example: str, *params: click.Parameter
) -> click.Command:
    text = f"{summary}\n\n\b\nExample:\n  {example}"
    return click.Command(name, callback=callback, params=list(params), help=text, short_help=summary)


def _option(*names: str, **settings: object) -> click.Option:
    return click.Option(names, **settings)  # type: ignore[arg-type]


def _flag(name: str, text: str) -> click.Option:
    return _option(*name.split(), is_flag=True, help=text)


def _base() -> click.Option:
    return _option("--base", metavar="REV", help="Git revision to compare with.")


def _run_folder() -> click.Option:
    text = "Folder with the files of another run, such as a fork's. They are read as data."
    return _option("--from", "folder", type=FOLDER, help=text)


def _json() -> click.Option:
    return _flag("--json as_json", "Print JSON.")


def _force(text: str) -> click.Option:
    return _flag("--force", text)


def _config() -> click.Option:
    return _option("--config", type=FILE, help="YAML file whose values replace the composed ones.")


def _metric(default: str = "accuracy") -> click.Option:
    return _option("--metric", default=default, show_default=True, help="Metric that orders the table.")


def _data() -> click.Option:
    text = "Folder, archive, address or data set of conf/dataset for this run; any path works without quotes for Hydra."
    return _option("--data", metavar="PATH|URL|NAME", help=text)


def _kept_images() -> click.Option:
    text = "Where the service keeps images; by default serving.log.images.folder."
    return _option("--images", "folder", metavar="FOLDER|URL", help=text)


def _pinned_image() -> tuple[click.Parameter, ...]:
    text = "Folder of deploy/kubernetes/overlays."
    return (
        click.Argument(["image"], metavar="NAME@DIGEST"),
        _option("--overlay", default="production", show_default=True, metavar="NAME", help=text),
    )


def _overrides() -> click.Argument:
    return click.Argument(["overrides"], nargs=-1, metavar="[OVERRIDE]...")


def _pipeline_commands() -> list[click.Command]:
    return [
        _command(
            "use",
            _dispatch("use"),
            "Make a folder, archive, address or data set of conf/dataset the repository's own.",
            "visiongate use '/data/My Pets (2026)' transformation.size=96",
            click.Argument(["source"], metavar="PATH|URL|NAME"),
            click.Argument(["settings"], nargs=-1, metavar="[SETTING]..."),
            _option("--name", metavar="NAME", help="Name of the data set; by default the folder's."),
            _flag("--dry-run", "Show the images and what would be written; write nothing."),
            _flag("--yes -y", "Do not ask."),
            _force("Overwrite a file of this name that the command wrote."),
        ),
        _command(
            "params",
            _dispatch("params"),
            "Compose conf/ into params.yaml.",
            "VISIONGATE_TRAINING__EPOCHS=20 visiongate params model.lr=1e-3",
            _overrides(),
            _config(),
            _flag("--check", "Write nothing; exit with 1 if params.yaml is out of date with conf/."),
        ),
        _command(
            "repro",
            _dispatch("repro"),
            "Compose params.yaml, then rerun the stages that changed.",
            "visiongate repro --config mine.yaml",
            _config(),
            _data(),
            _flag("--offline", "Do not look for finished runs in the remote."),
            _flag("--minimal", "Pull only what the changed stages read, and the reports, as CI does."),
        ),
        _command(
            "try",
            _dispatch("repro", "run_experiment"),
            "Run one experiment, as `dvc exp run -S` does, after a check of its settings, images and weights.",
            "visiongate try model.lr=1e-4 training.epochs=60 --data '/data/My Pets (2026)'",
            _overrides(),
            _data(),
        ),
        _command(
            "retrain",
            _dispatch("repro", "retrain"),
            "Fetch the data again and rerun the changed stages. The committed model becomes the champion.",
            "visiongate retrain && visiongate pr propose",
        ),
        _command(
            "gate",
            _dispatch("gate"),
            "Print the gate's verdict; exit with 1 if it failed.",
            "visiongate gate --base main",
            _base(),
            _run_folder(),
            _json(),
        ),
        _command(
            "report",
            _dispatch("report"),
            "Write reports/report.md, the pull-request report.",
            "visiongate report --base main",
            _base(),
            _option("--log", type=FILE, help="Log of the run; its end is shown if the run failed."),
            _flag("--failed", "The run failed."),
            _run_folder(),
        ),
        _command(
            "mlflow",
            _dispatch("mlflow"),
            "Open the tracking UI on the store that the stages write to.",
            "visiongate mlflow --port 5001",
            _option("--port", type=int, default=5000, show_default=True, help="Port on 127.0.0.1."),
        ),
        _command(
            "doctor",
            _dispatch("doctor"),
            "Show versions, device, precision, link type, remote and telemetry.",
            "visiongate doctor --json",
            _json(),
        ),
    ]


def _correction_commands() -> list[click.Command]:
    image = click.Argument(["image"], required=False, metavar="[SHA256|PATH]")
    return [
        _command(
            "correct",
            _dispatch("correct"),
            "Look through labels that are probably wrong, and write data/corrections.csv. With an image, correct that one.",
            "visiongate correct Cat/12.jpg --label Dog --why 'a puppy'",
            image,
            _option("--label", metavar="CLASS", help="The class that the image shows."),
            _flag("--exclude", "Leave the image out."),
            _flag("--undo", "Remove the image's correction."),
            _option("--why", default="", metavar="TEXT", help="The reason, kept with the correction."),
            _flag("--list as_list", "Print the labels that are probably wrong instead of opening the page."),
            _option(
                "--output",
                type=FILE,
                help="Write all images without a correction, the most suspicious first, to a CSV file.",
            ),
            _option("--port", type=int, default=0, help="Port on 127.0.0.1; by default a free one."),
            _flag("--no-browser", "Print the address of the page, but do not open it."),
        ),
        _command(
            "collect",
            _dispatch("collect"),
            "Turn feedback of the service with kept images into training images, data/collected.csv, and corrections; doubtful "
            "labels are listed in reports/collect instead.",
            "visiongate collect --dry-run",
            _option(
                "--since",
                type=click.DateTime(["%Y-%m-%d", "%Y-%m-%dT%H:%M:%S"]),
                help="Only images with feedback since this time, in UTC; by default all.",
            ),
            _kept_images(),
            _option(
                "--accept",
                multiple=True,
                metavar="SHA256[=CLASS]|all",
                help="Take a doubtful label, or another class for the image.",
            ),
            _option("--reject", multiple=True, metavar="SHA256", help="Refuse a doubtful label for good."),
            _flag("--dry-run", "Show what would be done; write nothing."),
        ),
        _command(
            "forget",
            _dispatch("forget"),
            "Delete an image of the service, its predictions and its collected copy, such as at the request of a user.",
            "visiongate forget photo.jpg",
            click.Argument(["image"], metavar="FILE|SHA256"),
            _kept_images(),
        ),
        _command(
            "label-next",
            _dispatch("label_next"),
            "Choose the unlabeled images that are worth a label: uncertain, and unlike each other.",
            "visiongate label-next /data/unlabeled --count 40",
            click.Argument(["sources"], nargs=-1, required=True, metavar="SOURCE..."),
            _option(
                "--count", type=click.IntRange(min=1), default=20, show_default=True, help="Number of images."
            ),
            _option(
                "--output",
                type=FOLDER,
                help="Folder for the list and the page; by default reports/labeling.",
            ),
        ),
    ]


def _experiment_commands() -> list[click.Command]:
    source = click.Argument(["experiment"], metavar="EXPERIMENT")
    optional = click.Argument(["experiment"], required=False, metavar="[EXPERIMENT]")
    return [
        _command(
            "experiments",
            _dispatch("experiments"),
            "List the experiments, the best first, and test whether the best is better.",
            "visiongate experiments --metric f1_macro",
            _metric(),
            _option(
                "--rev", default="HEAD", show_default=True, help="Commit that the experiments start from."
            ),
            _flag("--all everywhere", "Include the experiments of every commit."),
            _json(),
        ),
        _command(
            "sweep",
            _dispatch("sweep"),
            "Run an experiment for every combination of values.",
            "visiongate sweep model.lr=0.005,0.02 model=small_cnn,simple_cnn",
            _overrides(),
            _option(
                "--list", "file", type=FILE, help="File with the overrides of one experiment on each line."
            ),
            _option("--jobs", type=click.IntRange(min=1), help="Experiments at a time."),
            _option("--stage", default="evaluate", show_default=True, help="Last stage to run."),
            _option("--name", default="sweep", show_default=True, help="Prefix of the experiments' names."),
            _metric(),
            _flag("--dry-run", "Show what would run."),
            _force("Allow more combinations than the limit."),
        ),
        _command(
            "lr-range",
            _dispatch("lr_range"),
            "Suggest a learning rate by a short training at rising rates, on the transformed images; write logs/lr_range.png.",
            "visiongate lr-range model=simple_cnn",
            _overrides(),
            _option(
                "--steps",
                type=click.IntRange(min=50),
                default=150,
                show_default=True,
                help="Steps of the training.",
            ),
            _option("--low", type=float, default=1e-5, show_default=True, help="First learning rate."),
            _option("--high", type=float, default=10.0, show_default=True, help="Last learning rate."),
        ),
        _command(
            "adopt",
            _dispatch("adopt"),
            "Write settings to conf/experiment/NAME.yaml: those of EXPERIMENT, or those that `optimize` suggests.",
            "visiongate adopt best --name better",
            optional,
            _option("--name", default="tuned", show_default=True, help="Name of the recipe."),
            _metric(),
            _force("Overwrite a recipe of this name."),
        ),
        _command(
            "branch",
            _dispatch("branch"),
            "Turn EXPERIMENT, or `best`, into a branch whose conf/ composes to its parameters.",
            "visiongate branch best better-model",
            source,
            click.Argument(["name"], metavar="NAME"),
            _metric(),
        ),
    ]


def _predict_command() -> click.Command:
    return _command(
        "predict",
        _dispatch("predict"),
        "Predict images with the champion of the registry: files, folders, archives, addresses and patterns. "
        "Exit with 1 if a file could not be read.",
        "visiongate predict photos/ --output answers.csv",
        click.Argument(["sources"], nargs=-1, required=True, metavar="SOURCE..."),
        _option(
            "--model",
            "models",
            multiple=True,
            metavar="FILE|VERSION|ALIAS",
            help="Model in place of the champion; several are shown side by side.",
        ),
        _option(
            "--threshold",
            type=click.FloatRange(0, 1),
            help="Probability from which the second of two classes is predicted, in place of the model's.",
        ),
        _option("--output", type=FILE, help="File for the results: .csv, .jsonl or .parquet."),
        _option("--format", "format_", type=click.Choice(["csv", "jsonl"]), help="Print the results."),
        _option("--explain", type=FOLDER, help="Folder for a heat map of each image."),
        _option(
            "--similar", type=click.IntRange(min=1), metavar="N", help="Name the N nearest training images."
        ),
        _option("--embed", type=FILE, help="File for the embeddings: .npy or .parquet."),
        _option(
            "--engine",
            type=click.Choice(["local", "ray"]),
            help="Predict on this machine or on a Ray cluster, in place of engine.kind.",
        ),
    )


def _serving_commands() -> list[click.Command]:
    return [
        _command(
            "serve",
            _dispatch("serve"),
            "Serve the champion of the registry, or another model, over HTTP, with a page for photographs.",
            "visiongate serve --port 8000",
            click.Argument(["model"], required=False, metavar="[FILE|FOLDER|models:/NAME@ALIAS]"),
            _option("--host", metavar="ADDRESS", help="Address to listen on; 0.0.0.0 for all."),
            _option("--port", type=click.IntRange(0, 65535), help="Port to listen on."),
            _option(
                "--fd", type=click.IntRange(min=3), help="File descriptor of a listening socket to inherit."
            ),
        ),
        _command(
            "serve-key",
            _dispatch("serve_key"),
            "Make an API key for the service: print the key, which is not stored, and its line for serving.keys_file.",
            "visiongate serve-key phone",
            click.Argument(["name"], metavar="NAME"),
            _flag("--admin", "The key may also exchange the versions of models."),
        ),
        _command(
            "drift",
            _dispatch("drift"),
            "Compare recent predictions of the service with the first ones of the same version, and record the result for its "
            "metrics. Exit with 1 if they have drifted, and with 2 if there are too few to say.",
            "visiongate drift --json drift.json",
            _option(
                "--window",
                type=click.FloatRange(0, 87_600, min_open=True),
                metavar="HOURS",
                help="How far to look back; by default monitoring.drift.window_hours.",
            ),
            _option(
                "--yearly-level",
                "level",
                type=click.FloatRange(0, 1, min_open=True, max_open=True),
                metavar="SHARE",
                help="Probability of a false alarm within a year; by default monitoring.drift.yearly_level.",
            ),
            _option("--json", "json_file", type=FILE, help="File for the result as JSON."),
        ),
        _command(
            "rollout",
            _dispatch("rollout"),
            "Judge the challengers that predict beside the champion, as shadow or canary: promote, hold or roll back. Exit "
            "with 1 if one is to be promoted or rolled back, unless --apply does it.",
            "visiongate rollout --apply",
            _flag("--apply", "Move the aliases in the registry as the verdicts say."),
            _option("--json", "json_file", type=FILE, help="File for the result as JSON."),
        ),
        _command(
            "retrain-check",
            _dispatch("retrain_check"),
            "Say whether a new model is due: after measured or estimated harm, or with enough new labels; drift alone is no "
            "reason. Exit with 1 if one is, and with 2 if the prediction log has too little to say.",
            "visiongate retrain-check --json retrain.json",
            _option("--json", "json_file", type=FILE, help="File for the result as JSON."),
        ),
        _command(
            "performance",
            _dispatch("performance"),
            "Show how good the answers in the prediction log were: accuracy by feedback, calibration, latency, by version and "
            "class.",
            "visiongate performance --hours 24 --html performance.html",
            _option(
                "--hours",
                type=click.IntRange(1, 87_600),
                help="How far to look back; by default serving.log.window_hours.",
            ),
            _option("--model", metavar="NAME", help="Name of a model; by default all."),
            _option("--version", metavar="VERSION", help="Version of a model; by default all."),
            _option("--json", "json_file", type=FILE, help="File for the report as JSON."),
            _option(
                "--html", "html_file", type=FILE, help="File for the report as a page that loads nothing."
            ),
        ),
        _command(
            "smoke",
            _dispatch("smoke"),
            "Check a running service: health, page, metrics, and the predictions of its models for their registered "
            "examples. Exit with 1 if a check failed.",
            "visiongate smoke --url http://127.0.0.1:8000 --wait 60",
            _option("--url", required=True, metavar="URL", help="Address of the service."),
            _option(
                "--wait",
                type=click.FloatRange(min=0),
                default=0,
                show_default=True,
                metavar="SECONDS",
                help="Time to wait until the service is ready.",
            ),
            _option("--key-file", type=FILE, help="File with an API key; by default VISIONGATE_API_KEY."),
            _option(
                "--load",
                type=click.FloatRange(min=0),
                default=0,
                show_default=True,
                metavar="SECONDS",
                help="Then predict for so long, on connections that are kept; fail if a request fails.",
            ),
            _option(
                "--clients",
                type=click.IntRange(min=1, max=1000),
                default=4,
                show_default=True,
                help="That predict at the same time.",
            ),
        ),
    ]


def _delivery_commands() -> list[click.Command]:
    return [
        _command(
            "pin",
            _dispatch("pin"),
            "Change the digest of an image in an overlay of deploy/kubernetes.",
            f"visiongate pin {IMAGE}",
            *_pinned_image(),
        ),
        _command(
            "issue",
            _dispatch("issue"),
            "Open the issue about a champion that falls short, update it, or close it when the check passes again.",
            "visiongate issue check.json report.md",
            click.Argument(["check"], type=FILE, metavar="CHECK"),
            click.Argument(["report"], type=FILE, metavar="REPORT"),
        ),
    ]


def _registry_commands() -> click.Group:
    commands = [
        _command(
            "list",
            _dispatch("registry", "show"),
            "List the versions: aliases, decision, accuracy, date, commit, reason.",
            "visiongate registry list",
            _json(),
        ),
        _command(
            "register",
            _dispatch("repro", "register"),
            "Register the current model, even if no stage changed, for example in an empty registry.",
            "visiongate registry register",
        ),
        _command(
            "promote",
            _dispatch("registry", "promote"),
            "Register the current model, which must be committed, and promote it if it is better than the champion. "
            "With VERSION and --force, make that version the champion by hand.",
            "visiongate registry promote 3 --force --reason 'needed for a demonstration'",
            click.Argument(["version"], required=False, metavar="[VERSION]"),
            _option("--reason", default="not given", show_default=True, help="Reason, kept with VERSION."),
            _force("Promote VERSION without gate and comparison."),
        ),
        _command(
            "rollback",
            _dispatch("registry", "roll_back"),
            "Make an earlier champion the champion again.",
            "visiongate registry rollback --to 3 --reason 'too slow'",
            _option("--to", metavar="VERSION", help="Version to restore; by default the previous champion."),
            _option(
                "--reason", default="not given", show_default=True, help="Reason, kept with the version."
            ),
            _force("Accept a version that never passed the gate."),
        ),
        _command(
            "export",
            _dispatch("registry", "export"),
            "Copy a version with its card and lineage into a folder that `visiongate serve` takes, for an image or a machine "
            "without access to the registry.",
            "visiongate registry export --to served/",
            click.Argument(
                ["version"], required=False, default="champion", metavar="[VERSION|ALIAS|models:/NAME/3]"
            ),
            _option("--to", type=FOLDER, required=True, help="Folder; its model is replaced."),
        ),
        _command(
            "check",
            _dispatch("champion_check"),
            "Judge the champion again: on the current test images, on the feedback about its answers, and by its latency. Exit "
            "with 1 if it falls short.",
            "visiongate registry check --report check.md --json check.json",
            _option("--report", type=FILE, help="File for the report, in Markdown."),
            _option("--json", "record", type=FILE, help="File for the result."),
            _option(
                "--previous",
                type=FILE,
                help="Result of an earlier check, whose latency is compared; may be missing.",
            ),
            _option("--log", metavar="ADDRESS", help="Prediction log, whose feedback counts."),
        ),
        _command(
            "compare",
            _dispatch("registry", "compare"),
            "Compare the best runs.",
            "visiongate registry compare --top 3 --metric test/f1_macro",
            _option(
                "--top", type=click.IntRange(min=1), default=5, show_default=True, help="Number of runs."
            ),
            _metric("test/accuracy"),
        ),
        _command(
            "trace",
            _dispatch("registry", "trace"),
            "Show what a version was made from: commit, data, parameters, environment.",
            "visiongate registry trace models:/classifier@champion --verify",
            click.Argument(["version"], required=False, metavar="[models:/NAME/3|models:/NAME@ALIAS]"),
            _flag(
                "--verify", "Rebuild the model in a temporary clone and compare; exit with 1 if it differs."
            ),
        ),
    ]
    return _group("registry", "List, compare, roll back and trace registered models.", commands)


def _remote_commands() -> click.Group:
    force = "Replace a default remote that has another address."
    commands = [
        _command(
            "set",
            _dispatch("remote", "set_team_remote"),
            "Make a bucket or server the default remote, after a test push and pull.",
            "visiongate remote set s3://bucket/path",
            click.Argument(["url"]),
            _option("--endpoint", default="", help="Endpoint of an S3 server that is not Amazon's."),
            _force(force),
        ),
        _command(
            "local",
            _dispatch("remote", "set_local_remote"),
            "Make a folder of this machine the default remote.",
            "visiongate remote local /mnt/disk/visiongate",
            click.Argument(["folder"], type=click.Path()),
            _force(force),
        ),
        _command(
            "push",
            _dispatch("remote", "push"),
            "Push the outputs in dvc.lock, and the run cache, to the default remote.",
            "visiongate remote push",
        ),
        _command(
            "pull",
            _dispatch("remote", "pull"),
            "Pull the outputs in dvc.lock, and the run cache, from the default remote.",
            "visiongate remote pull",
        ),
    ]
    return _group("remote", "Share data and runs through a DVC remote.", commands)


def _pull_request_commands() -> click.Group:
    commands = [
        _command(
            "comment",
            _dispatch("pull_request", "comment"),
            "Post reports/report.md as the pull request's comment, or update it.",
            "visiongate pr comment --number 12",
            _option("--number", type=int, help="Pull request; in a workflow, the event names it."),
            _flag("--check", "Also set a check with the gate's verdict beside the commit."),
            _base(),
            _run_folder(),
            _flag("--failed", "The run failed."),
        ),
        _command(
            "propose",
            _dispatch("pull_request", "propose"),
            "Open a pull request with the current model, if it was promoted.",
            "visiongate pr propose",
        ),
        _command(
            "deploy",
            _dispatch("pull_request", "deploy"),
            "Open a pull request that changes the digest of an image in an overlay, or update the open one.",
            f"visiongate pr deploy {IMAGE}",
            *_pinned_image(),
        ),
    ]
    return _group("pr", "Write to pull requests on GitHub.", commands)


def _group(name: str, summary: str, commands: list[click.Command]) -> click.Group:
    return click.Group(name, commands, help=summary)


def _start(log_level: str, **_options: object) -> None:
    if os.getpid() == FIRST_PROCESS:
        signal.signal(signal.SIGTERM, _end)
    logs.configure(log_level.upper())
    _require_root()


def _end(number: int, _frame: FrameType | None) -> None:
    """End as a signal ends other processes; the service handles SIGTERM itself once it is there."""
    sys.exit(SIGNALED + number)


def _require_root() -> None:
    """Exit if the current folder lies inside a repository of this project: its files are named relative to the root."""
    here = Path.cwd()
    root = next((folder for folder in here.parents if (folder / PIPELINE).is_file()), None)
    if root is not None and not (here / PIPELINE).is_file():
        click.echo(f"visiongate: not the root of the repository; run: cd {shlex.quote(str(root))}", err=True)
        click.get_current_context().exit(FAILED)


main = click.Group(
    "visiongate",
    [
        *_pipeline_commands(),
        *_correction_commands(),
        *_experiment_commands(),
        _predict_command(),
        *_serving_commands(),
        *_delivery_commands(),
        _registry_commands(),
        _remote_commands(),
        _pull_request_commands(),
    ],
    callback=_start,
    params=[
        _option(
            "--log-level",
            type=click.Choice(["debug", "info", "warning", "error"], case_sensitive=False),
            default="info",
            show_default=True,
            envvar="VISIONGATE_LOG_LEVEL",
            help="Lowest level of the messages to print.",
        ),
        _flag("--debug", "Show a traceback instead of a one-line error."),
    ],
    help="Train, judge and register image classifiers with reproducible DVC stages.",
    epilog=EPILOG,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
)
