"""What a PostgreSQL in the cluster must hold, so that predictions outlive its pod."""

from collections.abc import Iterator
from pathlib import Path

from image_facts import POSTGRES_DATA, POSTGRES_PASSWORD, POSTGRES_STOP_SECONDS
from manifest_cases import Case, rule
from manifests import Container, containers, find, name_of, of_kind

KEEP = {"whenDeleted": "Retain", "whenScaled": "Retain"}


@rule
def keeps_its_data(case: Case) -> Iterator[str]:
    """The claim is mounted where the image writes, outlives the StatefulSet, and there is time to write to it at the end."""
    for document in of_kind(case.documents, "StatefulSet"):
        if find(document, "spec/persistentVolumeClaimRetentionPolicy") != KEEP:
            yield f"{name_of(document)}: its data is deleted with it"
    for container in containers(case.documents, "StatefulSet"):
        mounts = {mount["name"]: mount["mountPath"] for mount in container.spec["volumeMounts"]}
        if mounts.get("data") != POSTGRES_DATA:
            yield f"{container.name}: {mounts.get('data')} is kept, and the data in {POSTGRES_DATA} is not"
        grace = container.workload.spec.get("terminationGracePeriodSeconds", 30)
        if grace < POSTGRES_STOP_SECONDS:
            yield f"{container.name}: terminationGracePeriodSeconds is {grace}"


@rule
def reads_a_password_that_is_mounted(case: Case) -> Iterator[str]:
    """The variable with the path of the password is the one that the image reads, and a Secret is mounted there."""
    for container in containers(case.documents, "StatefulSet"):
        variables = {entry["name"]: entry.get("value") for entry in container.spec["env"]}
        if variables.get(POSTGRES_PASSWORD) not in secret_files(container):
            yield f"{container.name}: {POSTGRES_PASSWORD} is {variables.get(POSTGRES_PASSWORD)}, and no secret is there"


def secret_files(container: Container) -> set[str]:
    """Return the paths of the secrets in a container."""
    mounts = {mount["name"]: mount["mountPath"] for mount in container.spec.get("volumeMounts", [])}
    return {
        str(Path(mounts.get(volume["name"], "")) / item["path"])
        for volume in container.workload.spec["volumes"]
        for item in find(volume, "secret/items") or []
    }
