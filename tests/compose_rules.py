"""What a compose file must obey: each rule is a function that returns what is wrong with a document."""

import copy
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from image_facts import CALLS, IMAGES

Document = dict[str, Any]
DEPLOY = Path(__file__).parents[1] / "deploy"
SECRETS = "./secrets/"
# Digests were not found for these; the version is exact.
WITHOUT_DIGEST = {"ghcr.io/mlflow/mlflow"}
PINNED = re.compile(r"(?P<name>[\w./-]+):(?P<tag>[\w.-]*\d[\w.-]*)(@sha256:[0-9a-f]{64})?")
# Those whose volume or files belong to root; they have no capability.
ROOT_USERS = {"alloy", "s3"}
# They sleep most of the time, or end soon, and there is nothing to ask.
UNASKED = {"checks", "airflow-migrate"}
# What the caller runs on the work tree.
PIPELINE = {"train", "evaluate", "develop"}
SECRET_NAME = re.compile(r"(PASSWORD|SECRET|TOKEN|CREDENTIALS|(?<!CONFIG)_KEYS?)(_|$)")
PASSWORD_IN_ADDRESS = re.compile(r"://[^/\s:@]+:[^/\s@]+@")
LOOPBACK = re.compile(r"(127\.0\.0\.1|\$\{VISIONGATE_ADDRESS:-127\.0\.0\.1\}):\S+")
DEFAULT = re.compile(r"\$\{(?P<name>\w+)(?::?[-?](?P<default>[^}]*))?\}")


def changed(document: Document, path: str, value: Any) -> Document:  # noqa: ANN401 - any value of YAML
    """Return a copy of a compose file with one value replaced; None removes it."""
    document = copy.deepcopy(document)
    *parents, last = path.split(".")
    node = document
    for key in parents:
        node = node[key]
    if value is None:
        del node[last]
    else:
        node[last] = value
    return document


def services(document: Document) -> Iterator[tuple[str, Document]]:
    yield from document["services"].items()


def texts(value: object) -> Iterator[str]:
    """Yield each text in a document."""
    if isinstance(value, Mapping):
        for item in value.values():
            yield from texts(item)
    elif isinstance(value, list):
        for item in value:
            yield from texts(item)
    elif isinstance(value, str):
        yield value


def secrets_in_the_file(document: Document) -> list[str]:
    """A password, token or key is the path of a file, or a command that prints one, and no address has one."""
    found = [
        f"{name}: {variable} has a value"
        for name, service in services(document)
        for variable, value in service.get("environment", {}).items()
        if SECRET_NAME.search(variable) and not str(value).removeprefix("cat ").startswith("/run/secrets/")
    ]
    return found + [
        f"{text}: a password in an address" for text in texts(document) if PASSWORD_IN_ADDRESS.search(text)
    ]


def images_not_pinned(document: Document) -> list[str]:
    """An image that is not built here has an exact version and a digest."""
    found = []
    built = {service["image"] for _, service in services(document) if "build" in service}
    for name, service in services(document):
        image = service["image"]
        match = PINNED.fullmatch(image)
        if image not in built and (match is None or not ("@" in image or match["name"] in WITHOUT_DIGEST)):
            found.append(f"{name}: {image} is not pinned")
    return found


def privileges(document: Document) -> list[str]:
    """No container can become more than its user."""
    found = []
    for name, service in services(document):
        if service.get("cap_drop") != ["ALL"] or "cap_add" in service:
            found.append(f"{name}: capabilities")
        if service.get("security_opt") != ["no-new-privileges:true"]:
            found.append(f"{name}: new privileges")
        if service.get("privileged") or "host" in {
            service.get(key) for key in ("network_mode", "pid", "ipc")
        }:
            found.append(f"{name}: privileged")
        if any("docker.sock" in volume for volume in service.get("volumes", [])):
            found.append(f"{name}: the engine's socket")
        if not service.get("read_only") and name not in PIPELINE:
            found.append(f"{name}: a writable root")
        number = DEFAULT.sub(lambda match: match["default"], service.get("user", ""))
        if not re.fullmatch(r"\d+:\d+", number) or (number == "0:0" and name not in ROOT_USERS):
            found.append(f"{name}: user {number!r}")
    return found


def open_ports(document: Document) -> list[str]:
    """A port is published on the loopback address, unless a variable says otherwise."""
    return [
        f"{name}: {port} is open to others"
        for name, service in services(document)
        for port in service.get("ports", [])
        if not LOOPBACK.fullmatch(port)
    ]


def limits_missing(document: Document) -> list[str]:
    """Processors, memory, processes and the log are limited."""
    found = []
    for name, service in services(document):
        limits = service.get("deploy", {}).get("resources", {}).get("limits", {})
        found += [f"{name}: no limit of {key}" for key in ("cpus", "memory", "pids") if key not in limits]
        options = service.get("logging", {}).get("options", {})
        if not {"max-size", "max-file"} <= set(options):
            found.append(f"{name}: its log grows")
    return found


def supervision_missing(document: Document) -> list[str]:
    """A service says whether it is well, and starts again."""
    found = []
    for name, service in services(document):
        if "restart" not in service:
            found.append(f"{name}: no restart policy")
        health = service.get("healthcheck", {})
        # The image of the service brings a check, which would fail in a loop.
        if name not in PIPELINE and not health.get("disable" if name in UNASKED else "test"):
            found.append(f"{name}: no health check")
    return found


def profiles_shared(document: Document) -> list[str]:
    """What the caller runs on the work tree does not start beside something else."""
    others = {
        profile
        for name, service in services(document)
        if name not in PIPELINE
        for profile in service.get("profiles", [])
    }
    return [
        f"{name}: profiles {sorted(profiles)}"
        for name in sorted(PIPELINE)
        if not (profiles := set(document["services"][name].get("profiles", []))) or profiles & others
    ]


def files_missing(document: Document, secrets: set[str]) -> list[str]:
    """What is mounted exists, or is one of the secrets that ``secrets.sh`` writes."""
    sources = [
        volume["source"] if isinstance(volume, dict) else volume.split(":")[0]
        for _, service in services(document)
        for volume in service.get("volumes", [])
    ]
    sources += [secret["file"] for secret in document.get("secrets", {}).values()]
    return [
        path
        for path in filter(lambda source: source.startswith("."), sources)
        if not (
            path.removeprefix(SECRETS) in secrets if path.startswith(SECRETS) else (DEPLOY / path).exists()
        )
    ]


def names_undeclared(document: Document) -> list[str]:
    """Networks, volumes and secrets that a service uses are declared, and those that are declared are used."""
    found = []
    for kind in ("networks", "secrets", "volumes"):
        declared = set(document.get(kind, {}))
        used = {
            entry.split(":")[0]
            for _, service in services(document)
            for entry in service.get(kind, [])
            if kind != "volumes" or re.match(r"[\w-]+:", entry)
        }
        found += [f"{kind}: {name}" for name in sorted(declared ^ used)]
    return found


def paths_not_mounted(document: Document) -> list[str]:
    """A file that a command or a variable names is mounted: a configuration in /etc, a secret in /run/secrets."""
    found = []
    for name, service in services(document):
        mounted = dict(map(mount_of, service.get("volumes", [])))
        secrets = {f"/run/secrets/{secret}" for secret in service.get("secrets", [])}
        named = " ".join(texts([service.get("command", []), service.get("environment", {})]))
        for path in re.findall(r"/(?:etc|run/secrets)/[\w./-]+", named):
            folder, _, file = path.rpartition("/")
            if path not in secrets and not (
                folder in mounted and (DEPLOY / mounted[folder] / file).is_file()
            ):
                found.append(f"{name}: {path} is not mounted")
    return found


def mount_of(volume: str | Document) -> tuple[str, str]:
    """Return the target and the source of a volume."""
    if isinstance(volume, dict):
        return volume["target"], volume["source"]
    source, _, target = volume.removesuffix(":ro").rpartition(":")
    return target, source


def checks_elsewhere(document: Document, readiness: Mapping[str, str]) -> list[str]:
    """A health check asks the service itself, where it says whether it is ready; and who waits for it does not wait forever."""
    found = []
    for name, service in services(document):
        test = " ".join(service.get("healthcheck", {}).get("test", []))
        if name in readiness and not re.search(
            rf"127\.0\.0\.1[:/]{re.escape(readiness[name])}(?![\w/])", test
        ):
            found.append(f"{name}: {test}")
        found += [
            f"{name} waits for {other}"
            for other in service.get("depends_on", {})
            if "healthcheck" not in document["services"][other]
        ]
    return found


def share_a_network(document: Document, one: str, other: str) -> bool:
    """Return whether two services reach each other."""
    networks = [set(document["services"][name].get("networks", [])) for name in (one, other)]
    return bool(networks[0] & networks[1])


def strangers_met(document: Document) -> list[str]:
    """The service reaches no database, no store and no alert; what keeps data is in networks without a way out."""
    found = [
        f"visiongate reaches {other}"
        for other in ("postgres", "s3", "alertmanager", "grafana", "loki")
        if share_a_network(document, "visiongate", other)
    ]
    return found + [
        f"{name}: the network {network} has a way out"
        for name in ("postgres", "s3")
        for network in document["services"][name]["networks"]
        if not document["networks"][network].get("internal")
    ]


def ports_without_listeners(document: Document) -> list[str]:
    """The port that is published, or named in a command, is the one that the image listens on."""
    found = []
    for name, facts in IMAGES.items():
        service = document["services"][name]
        found += [
            f"{name}: {port} leads to no listener"
            for port in service.get("ports", [])
            if port.rpartition(":")[2] != str(facts.port)
        ]
        if facts.listens_by and f"{facts.listens_by}{facts.port}" not in command_of(service):
            found.append(f"{name}: does not listen on {facts.port}")
    return found


def data_lost(document: Document) -> list[str]:
    """What an image keeps is in a volume with a name; otherwise it is lost with the container."""
    found = []
    for name, facts in IMAGES.items():
        service = document["services"][name]
        kept = {
            target for target, source in map(mount_of, service.get("volumes", [])) if source[0] not in "./$"
        }
        if facts.data and facts.data not in kept:
            found.append(f"{name}: {facts.data} is no volume")
        if facts.keeps_by and not re.search(
            rf"{re.escape(facts.keeps_by + facts.data)}(\s|$)", command_of(service)
        ):
            found.append(f"{name}: does not keep its data in {facts.data}")
    return found


def passwords_not_read(document: Document) -> list[str]:
    """The variable that an image reads the path of a password from has that of its secret."""
    return [
        f"{name}: {variable} is not the path of {secret}"
        for name, facts in IMAGES.items()
        for variable, secret in facts.secrets.items()
        if document["services"][name].get("environment", {}).get(variable) != f"/run/secrets/{secret}"
    ]


def calls_without_a_way(document: Document) -> list[str]:
    """Who calls another, or waits for it, shares a network with it."""
    return [
        f"{name} does not reach {other}"
        for name, service in services(document)
        for other in {*CALLS.get(name, ()), *service.get("depends_on", ())}
        if not share_a_network(document, name, other)
    ]


def command_of(service: Document) -> str:
    """Return the arguments of a service as one text."""
    return " ".join(service.get("command", []))


def addresses_unknown(
    document: Document, reader: str, addresses: list[str], ports: Mapping[str, int]
) -> list[str]:
    """An address in a configuration file is a service's name and port, on a network of the reader."""
    found = []
    for address in addresses:
        host, _, port = address.partition(":")
        if host == "127.0.0.1":
            host = reader
        if host not in document["services"] or ports.get(host) != int(port):
            found.append(f"{address} is no service's")
        elif not share_a_network(document, reader, host):
            found.append(f"{reader} does not reach {host}")
    return found


def variables(text: str) -> dict[str, set[str]]:
    """Return the variables of a compose file with their defaults."""
    found: dict[str, set[str]] = {}
    for match in DEFAULT.finditer(text.replace("$$", "")):
        found.setdefault(match["name"], set()).add(match["default"] or "")
    return found
