"""Executes the instructions that our Dockerfile uses, in folders instead of images.

Needs root and a separate mount namespace. Stages are overlay mounts, which are removed when the
namespace ends.
"""

import dataclasses
import fnmatch
import json
import os
import re
import shlex
import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


@dataclasses.dataclass(frozen=True)
class Instruction:
    """The name of an instruction and its arguments, on one line."""

    word: str
    rest: str


@dataclasses.dataclass
class Image:
    """A built stage: its root, and the user, folder and environment of its containers."""

    root: Path
    layers: list[Path]
    environment: dict[str, str]
    user: str = "0:0"
    folder: str = "/"
    command: Sequence[str] = ()
    healthcheck: Sequence[str] = ()
    volumes: tuple[str, ...] = ()
    ports: tuple[int, ...] = ()


class Builder:
    """Builds stages of the Dockerfile in the folder `context`, each stage once.

    The root folder `base` replaces the base image. Stages are built below `work`. `given` has
    environment variables for all commands, which replace build arguments. The output of the
    commands is written to `log`.
    """

    def __init__(
        self, context: Path, base: Path, work: Path, given: Mapping[str, str], log: IO[str]
    ) -> None:
        self._context, self._base, self._work = context, base, work
        self._given, self._log = given, log
        self._ignored = _Ignored(context / ".dockerignore")
        self._stages = _stages(instructions((context / "Dockerfile").read_text("utf-8")))
        self._images: dict[str, Image] = {}

    def build(self, name: str) -> Image:
        """Build a stage; raises CalledProcessError if a command fails."""
        if name not in self._images:
            parent, steps = self._stages[name]
            if parent in self._stages:
                under = self.build(parent)
            else:
                under = Image(self._base, [self._base], {"PATH": PATH})
            image = self._images[name] = self._over(under, name)
            for step in steps:
                self._log.write(f"--- {name}: {step.word} {step.rest}\n")
                self._log.flush()
                self._execute(image, step)
        return self._images[name]

    def _over(self, under: Image, name: str) -> Image:
        """A new stage on top of the stage `under`, with the mounts of the base."""
        root, upper, scratch = (self._work / name / part for part in ("root", "upper", "scratch"))
        for folder in (root, upper, scratch):
            folder.mkdir(parents=True)
        lower = ":".join(map(str, under.layers))
        options = f"lowerdir={lower},upperdir={upper},workdir={scratch}"
        mount("-t", "overlay", "-o", options, "overlay", root)
        for mounted in _mounts_under(self._base):
            mount("--bind", mounted, root / mounted.relative_to(self._base))
        return dataclasses.replace(
            under, root=root, layers=[upper, *under.layers], environment={**under.environment}
        )

    def _execute(self, image: Image, step: Instruction) -> None:
        match step.word:
            case "ENV":
                image.environment |= dict(pair.split("=", 1) for pair in shlex.split(step.rest))
            case "WORKDIR":
                image.folder = step.rest
                (image.root / step.rest.lstrip("/")).mkdir(parents=True, exist_ok=True)
            case "USER":
                image.user = step.rest
            case "VOLUME":
                image.volumes = (*image.volumes, step.rest)
            case "EXPOSE":
                image.ports = (*image.ports, int(step.rest))
            case "CMD":
                image.command = json.loads(step.rest)
            case "HEALTHCHECK":
                image.healthcheck = json.loads(step.rest.partition("CMD")[2])
            case "RUN":
                self._run(image, step.rest)
            case "COPY":
                self._copy(image, step.rest)
            case _:
                raise NotImplementedError(f"{step.word} is not among the instructions known here")

    def _run(self, image: Image, rest: str) -> None:
        options, command = _options(rest)
        bound = []
        if given := options.get("mount"):
            fields = dict(pair.split("=", 1) for pair in given.split(","))
            assert fields["type"] == "bind", f"not a mount that is known here: {given}"
            target = _within(image, fields["target"])
            target.mkdir(parents=True, exist_ok=True)
            mount("--bind", _within(self.build(fields["from"]), fields["source"]), target)
            bound.append(target)
        try:
            subprocess.run(
                [*inside(image), "/bin/sh", "-c", command],
                env={**self._given, **image.environment},
                stdin=subprocess.DEVNULL,
                stdout=self._log,
                stderr=self._log,
                check=True,
            )
        finally:
            for target in bound:
                subprocess.run(["umount", target], check=True)

    def _copy(self, image: Image, rest: str) -> None:
        options, words = _options(rest)
        *sources, target = words.split()
        place = _within(image, os.path.join(image.folder, target))  # noqa: PTH118
        stage = options.get("from")
        for name in sources:
            source = _within(self.build(stage), name) if stage else self._context / name
            if source.is_dir():
                ignore = None if stage else self._leave_out
                shutil.copytree(source, place, symlinks=True, ignore=ignore, dirs_exist_ok=True)
            else:
                assert stage or not self._ignored(name), f".dockerignore leaves out {name}"
                place.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(source, place / source.name if target.endswith("/") else place)
        owner = options.get("chown", "0:0")
        subprocess.run(["chown", "--recursive", owner, place], check=True)

    def _leave_out(self, folder: str, names: list[str]) -> list[str]:
        where = Path(folder).relative_to(self._context)
        return [name for name in names if self._ignored(str(where / name))]


def instructions(text: str) -> Iterator[Instruction]:
    """The instructions of a Dockerfile, without comments. Continued lines are joined."""
    lines = [line for line in text.splitlines() if not re.match(r"\s*#", line)]
    for line in re.sub(r"\\\n", "", "\n".join(lines)).splitlines():
        if line.strip():
            word, _, rest = line.strip().partition(" ")
            yield Instruction(word, rest.strip())


def inside(image: Image) -> list[str]:
    """Leading arguments that run a command in the root and folder of an image, as its user."""
    user, _, group = image.user.partition(":")
    privileges = ["setpriv", f"--reuid={user}", f"--regid={group}", "--clear-groups"]
    if user != "0":
        privileges += ["--no-new-privs", "--bounding-set=-all", "--inh-caps=-all"]
    return ["chroot", str(image.root), *privileges, "env", f"--chdir={image.folder}"]


def mount(*arguments: str | Path) -> None:
    """Run the command `mount`; raises CalledProcessError if it fails."""
    subprocess.run(["mount", *arguments], check=True)


def _stages(steps: Iterator[Instruction]) -> dict[str, tuple[str, list[Instruction]]]:
    """For each stage, its base and its instructions."""
    stages: dict[str, tuple[str, list[Instruction]]] = {}
    name = ""
    for step in steps:
        if step.word == "FROM":
            parent, _, name = re.split(r"\s+", step.rest)
            stages[name] = (parent, [])
        elif name:
            stages[name][1].append(step)
        else:
            assert step.word == "ARG", f"{step.word} before the first FROM"
    return stages


def _options(rest: str) -> tuple[dict[str, str], str]:
    """The leading `--name=value` options, and the remaining text."""
    options = {}
    while found := re.match(r"--([a-z]+)=(\S+)\s+", rest):
        options[found[1]] = found[2]
        rest = rest[found.end() :]
    return options, rest


def _within(image: Image, path: str) -> Path:
    return image.root / path.lstrip("/")


def _mounts_under(root: Path) -> list[Path]:
    lines = Path("/proc/self/mountinfo").read_text("utf-8").splitlines()
    points = [Path(line.split()[4]) for line in lines]
    return [point for point in points if root in point.parents]


class _Ignored:
    """Tests whether .dockerignore excludes a path.

    The last pattern that matches the path or one of its parent folders decides.
    """

    def __init__(self, file: Path) -> None:
        lines = file.read_text("utf-8").split("\n")
        patterns = [line.strip().rstrip("/") for line in lines if line and line[0] != "#"]
        self._rules = [(each.removeprefix("!"), not each.startswith("!")) for each in patterns]

    def __call__(self, path: str) -> bool:
        parts = Path(path).parts
        folders = ["/".join(parts[: count + 1]) for count in range(len(parts))]
        out = False
        for pattern, verdict in self._rules:
            if any(_matches(folder, pattern) for folder in folders):
                out = verdict
        return out


def _matches(path: str, pattern: str) -> bool:
    if pattern.startswith("**/"):
        return fnmatch.fnmatchcase(path.rpartition("/")[2], pattern[3:])
    return path.count("/") == pattern.count("/") and fnmatch.fnmatchcase(path, pattern)
