"""MLflow's registry on a server, by its REST API.

MLflow's client would take two seconds to import, and more than 100 MB of memory.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, unquote, urlsplit

from visiongate.records.served_model import ServedModel, describe_version
from visiongate.serving.sources.model_sources import NoVersionError, UnreachableError
from visiongate.serving.sources.registration_time import add_registration_time
from visiongate.serving.sources.registry_source import ModelAddress

if TYPE_CHECKING:
    from requests import Response

API, ARTIFACTS = "api/2.0/mlflow", "api/2.0/mlflow-artifacts/artifacts"
# MLflow answers with these for a missing alias, version or model.
MISSING = {"RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"}
REFUSED = {401, 403}
CHUNK = 1 << 20
TOKEN, USER, PASSWORD = "MLFLOW_TRACKING_TOKEN", "MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD"


@dataclass(frozen=True, slots=True)
class Access:
    """A server, and how to be admitted.

    Attributes:
        address: ``http`` or ``https``, without a password.
        token: Of MLFLOW_TRACKING_TOKEN.
        login: User and password.
        timeout: Seconds to wait for a connection, and for the next part of an answer.
    """

    address: str
    token: str | None
    login: tuple[str, str] | None
    timeout: float


def read_access(address: str, timeout: float, environment: Mapping[str, str]) -> Access:
    """Return the access to a server, with the credentials in its address or in MLflow's variables."""
    parts = urlsplit(address)
    login = None
    if parts.username:
        login = unquote(parts.username), unquote(parts.password or "")
    elif USER in environment:
        login = environment[USER], environment.get(PASSWORD, "")
    plain = parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl().rstrip("/")
    return Access(plain, environment.get(TOKEN) or None, login, timeout)


class RestRegistry:
    """MLflow's server.

    Args:
        access: The server.
    """

    def __init__(self, access: Access) -> None:
        self._access = access

    @property
    def address(self) -> str:
        """The address without a password."""
        return self._access.address

    def find(self, address: ModelAddress) -> ServedModel:
        """Return a version, by one request; see `Registry`."""
        if address.number:
            method, query = "model-versions/get", {"name": address.name, "version": address.number}
        else:
            method, query = "registered-models/alias", {"name": address.name, "alias": str(address.alias)}
        with self._read(self._ask(method, query, str(address))) as answer:
            return _read_version(address.name, answer["model_version"])

    def locate(self, model: ServedModel) -> str:
        """Return the address of the folder that has a version's file; see `Registry`."""
        query = {"name": model.name, "version": model.version}
        asked = f"models:/{model.name}/{model.version}"
        with self._read(self._ask("model-versions/get-download-uri", query, asked)) as answer:
            return str(answer["artifact_uri"])

    def download(self, artifact: str, target: Path) -> None:
        """Download a file through the server; see `Registry`."""
        path = quote(urlsplit(artifact).path.lstrip("/"))
        with self._request(f"{ARTIFACTS}/{path}", {}) as response, target.open("wb") as file:
            self._check(response, artifact)
            for chunk in response.iter_content(CHUNK):
                file.write(chunk)

    def _ask(self, method: str, query: Mapping[str, str], asked: str) -> Any:  # noqa: ANN401 - any JSON value
        with self._request(f"{API}/{method}", query) as response:
            answer = _parse(response)
            if isinstance(answer, dict) and answer.get("error_code") in MISSING:
                raise NoVersionError(
                    f"{asked}: no such version at {self.address}; list the versions with `visiongate registry list`"
                )
            self._check(response, asked)
        return answer

    @contextmanager
    def _read(self, answer: Any) -> Iterator[Any]:  # noqa: ANN401 - any JSON value
        """Raise an error if an answer lacks what MLflow's has."""
        try:
            yield answer
        except (KeyError, TypeError, AttributeError):
            raise UnreachableError(
                f"{self.address} does not answer as an MLflow server; check the address"
            ) from None

    def _check(self, response: "Response", asked: str) -> None:
        """Raise an error for a status that is one."""
        if response.ok:
            return
        if response.status_code in REFUSED:
            raise UnreachableError(
                f"MLflow at {self.address} refuses access with status {response.status_code}; set {TOKEN}, or {USER} and "
                f"{PASSWORD}"
            )
        raise UnreachableError(f"MLflow at {self.address} answers {asked} with status {response.status_code}")

    @contextmanager
    def _request(self, path: str, query: Mapping[str, str]) -> Iterator["Response"]:
        # Imported here, because a service of a file does not need it.
        import requests  # noqa: PLC0415

        access = self._access
        headers = {"Authorization": f"Bearer {access.token}"} if access.token else {}
        auth = None if access.token else access.login
        try:
            with requests.get(
                f"{access.address}/{path}",
                params=dict(query),
                headers=headers,
                auth=auth,
                timeout=access.timeout,
                stream=True,
            ) as response:
                yield response
        except requests.Timeout:
            raise UnreachableError(
                f"MLflow at {self.address} does not answer within {access.timeout:g} s"
            ) from None
        except requests.exceptions.SSLError as error:
            raise UnreachableError(
                f"MLflow at {self.address}: its certificate is not trusted; set REQUESTS_CA_BUNDLE"
            ) from error
        except requests.RequestException as error:
            raise UnreachableError(
                f"MLflow at {self.address} cannot be reached: {type(error).__name__}"
            ) from error


def _parse(response: "Response") -> Any:  # noqa: ANN401 - any JSON value
    try:
        return response.json()
    except ValueError:
        return None


def _read_version(name: str, entry: Mapping[str, Any]) -> ServedModel:
    tags = {tag["key"]: tag.get("value", "") for tag in entry.get("tags", ())}
    aliases = sorted(entry.get("aliases", ()))
    model = describe_version(name, str(entry["version"]), tags, entry.get("description") or None, aliases)
    return add_registration_time(model, entry.get("creation_timestamp"))
