"""What the schemas of Kubernetes say about manifests."""

import functools
from collections.abc import Sequence

import kubernetes_validate
from kubernetes_validate import utils as schemas

from manifests import Document, name_of, workloads

# Those that Kubernetes supports.
VERSIONS = ("1.35", "1.36", "1.37")
# Groups of custom resources.
CUSTOM = {"argoproj.io", "gateway.networking.k8s.io", "keda.sh", "monitoring.coreos.com", "ray.io"}


def schema_findings(documents: Sequence[Document], version: str) -> list[str]:
    """What the strict schemas of a version of Kubernetes say; they do not have custom resources."""
    _read_schemas_once()
    found = []
    for document in documents:
        if document["apiVersion"].split("/")[0] in CUSTOM:
            continue
        try:
            kubernetes_validate.validate(document, version, strict=True)
        except (kubernetes_validate.ValidationError, kubernetes_validate.SchemaNotFoundError) as error:
            found.append(f"{name_of(document)}: {error.message}")
    return found


def pods_of(documents: Sequence[Document], *kinds: str) -> list[Document]:
    """Return the pods that are made from the templates in custom resources, which no schema of Kubernetes reaches."""
    return [
        {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": workload.name, "labels": workload.labels},
            "spec": workload.spec,
        }
        for workload in workloads(documents, *kinds)
    ]


@functools.cache
def _read_schemas_once() -> None:
    """Cache the definitions of a version, which are parsed for each object otherwise."""
    schemas.schema_contents = functools.cache(schemas.schema_contents)
