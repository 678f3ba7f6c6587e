"""Propose an image for production: a pull request that changes its digest and nothing else.

It is written through GitHub's API, not by a push: the commit is signed by GitHub, the job needs no credentials of git, and
the file is that of the default branch at this moment, whatever is checked out.
"""

import base64
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from visiongate.adapters.github import GitHubRepository
from visiongate.delivery.image_pins import ImageReference, pin_digest
from visiongate.errors import DataError
from visiongate.records.registration import Registration

FILE_MODE = "100644"
SHORT_DIGEST = 12
BODY = """\
Merging this pull request puts the image into `{overlay}`; reverting it rolls back.

| | |
|---|---|
| image | `{image}` |
| model | `{name}` version {version} |
| sha256 of the model | `{sha256}` |
| built, tested, scanned and signed by | {run} |
| from commit | {commit} |

The signature and the provenance say the same; check them before you merge:

```sh
cosign verify {image} --certificate-identity {identity} --certificate-oidc-issuer https://token.actions.githubusercontent.com
gh attestation verify oci://{image} --repo {slug}
```
"""


@dataclass(frozen=True, slots=True)
class BuildRun:
    """The workflow run that built an image.

    Attributes:
        url: Of the run.
        commit: The full hash that was built.
        identity: Of the workflow, as the certificate of the signature names it.
    """

    url: str
    commit: str
    identity: str


@dataclass(frozen=True, slots=True)
class ImageProposal:
    """An image for an overlay.

    Attributes:
        image: By digest.
        overlay: Its name.
        file: The kustomization, relative to the root of the repository.
        model: The registration of the model in the image.
        run: That built it.
    """

    image: ImageReference
    overlay: str
    file: Path
    model: Registration
    run: BuildRun

    @property
    def title(self) -> str:
        """The title of the pull request and of its commit."""
        digest = self.image.digest.removeprefix("sha256:")[:SHORT_DIGEST]
        return f"Deploy {self.model.name} version {self.model.version} to {self.overlay}: image {digest}"

    @property
    def branch(self) -> str:
        """The branch, which later images reuse."""
        return f"deploy-{self.overlay}"

    def describe(self, slug: str) -> str:
        """Return the text of the pull request, in Markdown."""
        model, run = self.model, self.run
        return BODY.format(
            overlay=self.overlay,
            image=self.image,
            name=model.name,
            version=model.version,
            sha256=model.model_sha256,
            run=run.url,
            commit=run.commit,
            identity=run.identity,
            slug=slug,
        )


def propose_image(proposal: ImageProposal, base: str, repository: GitHubRepository) -> str:
    """Open the pull request, or update the open one of an earlier image; return its address, or why there is none.

    Args:
        proposal: What to propose.
        base: The branch to merge into.
        repository: On GitHub.

    Raises:
        DataError: The kustomization does not exist, or does not run this image.
        GitHubError: GitHub is unreachable or refused.
    """
    head = str(repository.item(f"git/ref/heads/{base}")["object"]["sha"])
    before = _read_file(proposal.file, head, repository)
    after = pin_digest(before, proposal.image, str(proposal.file))
    if after == before:
        return f"Not proposed: {proposal.overlay} already runs {proposal.image}"
    # The branch moves from commit to commit: GitHub would close the pull request if the branch were equal to its base.
    _move_branch(proposal.branch, _commit(proposal, after, head, repository), repository)
    return _open_or_update(proposal, base, repository)


def _read_file(path: Path, commit: str, repository: GitHubRepository) -> str:
    content = repository.item(f"contents/{path.as_posix()}", ref=commit)
    if content.get("encoding") != "base64":
        raise DataError(f"{path}: not a file of commit {commit}")
    return base64.b64decode(content["content"]).decode("utf-8")


def _commit(proposal: ImageProposal, text: str, parent: str, repository: GitHubRepository) -> str:
    """Commit the file on top of a commit; return the hash. Without an author, GitHub signs the commit."""
    base_tree = repository.item(f"git/commits/{parent}")["tree"]["sha"]
    entry = {"path": proposal.file.as_posix(), "mode": FILE_MODE, "type": "blob", "content": text}
    tree = repository.send("POST", "git/trees", {"base_tree": base_tree, "tree": [entry]})
    commit = {"message": proposal.title, "tree": tree["sha"], "parents": [parent]}
    return str(repository.send("POST", "git/commits", commit)["sha"])


def _move_branch(branch: str, commit: str, repository: GitHubRepository) -> None:
    """Point a branch, which may not exist yet, to a commit."""
    # GitHub answers with all branches that begin like this.
    references = repository.pages(f"git/matching-refs/heads/{branch}")
    if any(each["ref"] == f"refs/heads/{branch}" for each in references):
        repository.send("PATCH", f"git/refs/heads/{branch}", {"sha": commit, "force": True})
    else:
        repository.send("POST", "git/refs", {"ref": f"refs/heads/{branch}", "sha": commit})


def _open_or_update(proposal: ImageProposal, base: str, repository: GitHubRepository) -> str:
    text: dict[str, Any] = {"title": proposal.title, "body": proposal.describe(repository.slug)}
    owner = repository.slug.partition("/")[0]
    pulls = repository.pages("pulls", state="open", head=f"{owner}:{proposal.branch}", base=base)
    for pull in pulls:
        return str(repository.send("PATCH", f"pulls/{pull['number']}", text)["html_url"])
    opened = repository.send("POST", "pulls", {**text, "head": proposal.branch, "base": base})
    return str(opened["html_url"])
