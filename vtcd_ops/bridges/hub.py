"""A run in the form of the Hugging Face Hub: its files, and a card that says what they are."""

from __future__ import annotations

import json
import re
import shutil
import tempfile
from pathlib import Path
from typing import Any

from vtcd_ops.common.errors import InputError, first_line
from vtcd_ops.common.untrusted import without_controls
from vtcd_ops.discovery.run import Run, load
from vtcd_ops.storage.files import TEMPORARY
from vtcd_ops.storage.folder import LOCK_FILE

__all__ = ["concept_card", "from_pretrained", "push_to_hub", "save_pretrained"]

CARD = "README.md"
_MEANS_SOMETHING = re.compile(r"([\\`*_\[\]<>#|~&!@:.])")  # in Markdown
_LEFT_BEHIND = shutil.ignore_patterns(LOCK_FILE, f"{TEMPORARY}*")


def concept_card(run: Run, *, license: str | None = None, tags: tuple[str, ...] = ()) -> str:
    """Return a card in the Hub's form: what was looked at, with what, and how to load it.

    Args:
        run: the run.
        license: of what is published, by the Hub's name for it; the run holds small previews of its
            videos, so it must allow for these too.
        tags: more than the usual ones.
    """
    meta: dict[str, Any] = {
        "library_name": "vtcd_ops",
        "tags": ["vtcd", "concepts", "video", *tags],
    }
    if license is not None:
        meta["license"] = license
    head = "\n".join(f"{key}: {json.dumps(value)}" for key, value in meta.items())
    units = [len(run.units(part)) for part in run.parts]
    settings = "\n".join(
        f"| {_text(key)} | {_code(value)} |" for key, value in sorted(run.settings.items())
    )
    rankings = "".join(f"\n- {_text(name)}" for name in run.importances()) or " none"
    versions = ", ".join(f"{name} {version}" for name, version in sorted(run.versions.items()))
    parts = ", ".join(
        f"{count} concepts in the {_text(part)}"
        for count, part in zip(units, run.parts, strict=True)
    )
    return f"""---
{head}
---
# Concepts of {_text(run.model["name"])}
{parts}
of {len(run.layers)} layers x {len(run.heads)} heads, found in {len(run.videos)} videos
by [VTCD](https://arxiv.org/abs/2401.10831) as `vtcd_ops` implements it.

```python
from vtcd_ops.bridges import from_pretrained

run = from_pretrained("THIS REPOSITORY")
run.support(video=0, layer={run.layers[-1]}, head={run.heads[0]})  # concepts [T, H, W], -1: none
```

The weights of the model have the SHA-256 {_code(run.model["sha256"])}. The run holds small previews
of the videos, and the paths where they lay.

| setting | value |
| --- | --- |
{settings}

Rankings:{rankings}

Made with {_text(versions)}.
"""


def _text(text: str) -> str:
    r"""Return a name so that Markdown shows it as it is, on one line.

    >>> _text("<b>a_b</b>\n# c")
    '\\<b\\>a\\_b\\</b\\> \\# c'
    """
    return _MEANS_SOMETHING.sub(r"\\\1", without_controls(" ".join(text.split())))


def _code(value: Any) -> str:
    r"""Return a value as code that ends where it ends, also in a table.

    >>> _code("a`|\n")
    '`"a\\u0060\\u007c\\n"`'
    """
    plain = value if isinstance(value, str) and value.isalnum() else json.dumps(value)
    return "`" + plain.replace("`", "\\u0060").replace("|", "\\u007c") + "`"


def save_pretrained(
    run: Run | str | Path,
    folder: str | Path,
    *,
    license: str | None = None,
    tags: tuple[str, ...] = (),
) -> Path:
    """Write a run and its card into a new folder, as `push_to_hub` uploads it.

    Args:
        run: the run, or its directory.
        folder: to make; it must not exist.
        license, tags: see `concept_card`.

    Returns:
        The folder, which `vtcd_ops.load` and `from_pretrained` read.

    Raises:
        InputError: it exists, or cannot be written.
    """
    run = load(run) if isinstance(run, str | Path) else run
    folder = Path(folder)
    if folder.exists():
        raise InputError(f"save_pretrained: {folder} exists: name a new folder")
    _expect_own_files(run.path)
    try:
        shutil.copytree(run.path, folder, ignore=_LEFT_BEHIND)
        (folder / CARD).write_text(concept_card(run, license=license, tags=tags), encoding="utf-8")
    except OSError as error:
        raise InputError(f"save_pretrained: {folder} cannot be written: {error}") from error
    return folder


def _expect_own_files(folder: Path) -> None:
    """Refuse links: whoever made the run would have files of this machine published.

    In the Hub's cache every file of a snapshot is a link to a blob beside it.
    """
    blobs = folder.resolve().parents[1] / "blobs"
    for path in folder.rglob("*"):
        if path.is_symlink() and (path.is_dir() or path.resolve().parent != blobs):
            raise InputError(
                f"save_pretrained: {path} is a symbolic link, and what it leads to would be "
                "published: put the file itself there"
            )


def push_to_hub(
    run: Run | str | Path,
    repo_id: str,
    *,
    private: bool = True,
    license: str | None = None,
    tags: tuple[str, ...] = (),
    commit_message: str = "Concepts found by vtcd_ops",
) -> str:
    """Upload a run and its card to the Hugging Face Hub; it needs huggingface_hub and a login.

    Args:
        run: the run, or its directory.
        repo_id: "owner/name" of the repository, which is made where it does not exist.
        private: whether a new repository is; it is unless you say otherwise, since a run holds
            previews of videos.
        license, tags: see `concept_card`.
        commit_message: of the upload.

    Returns:
        The address of the upload.

    Raises:
        InputError: huggingface_hub is not installed, or the Hub refuses.
    """
    hub = _hub("push_to_hub")
    with tempfile.TemporaryDirectory() as place:
        folder = save_pretrained(run, Path(place) / "run", license=license, tags=tags)
        try:
            client = hub.HfApi()
            client.create_repo(repo_id, private=private, exist_ok=True)
            done = client.upload_folder(
                repo_id=repo_id, folder_path=folder, commit_message=commit_message
            )
        except Exception as error:  # the client raises its transport's own exceptions too
            raise InputError(f"push_to_hub: {repo_id}: {first_line(error)}") from error
    return str(done)


def from_pretrained(source: str | Path, *, revision: str | None = None) -> Run:
    """Return a run from a folder or the Hugging Face Hub, every file of it verified.

    Args:
        source: a folder, or "owner/name" on the Hub.
        revision: of the repository: a branch, a tag or a commit.

    Raises:
        InputError: there is no run, or a damaged one.
    """
    if Path(source).is_dir():
        return load(source)
    name = str(source)
    if name.count("/") != 1 or name.startswith((".", "/", "~")):
        raise InputError(f"from_pretrained: {name} is no folder and no Hub id (owner/name)")
    hub = _hub("from_pretrained")
    try:
        folder = hub.snapshot_download(name, revision=revision)
    except Exception as error:  # as above
        raise InputError(f"from_pretrained: {name}: {first_line(error)}") from error
    return load(folder)


def _hub(caller: str) -> Any:
    try:
        import huggingface_hub
    except ImportError as error:
        raise InputError(
            f"{caller}: it needs huggingface_hub: pip install huggingface_hub"
        ) from error
    return huggingface_hub
