"""The pipeline in a separate folder: a Git repository with a made-up corpus and small models."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

from demo.project import environment_of
from tests.conftest import ROOT
from tests.repositories import commit

REVIEWS = 300


class Project:
    """A project in a folder.

    Attributes:
        folder: Its root.
        environment: The environment variables under which its commands run.
    """

    def __init__(self, folder: Path):
        self.folder, self.environment = folder, environment_of(folder)

    def copy(self, folder: Path, **changes: object) -> "Project":
        """The same project in another folder, results included.

        Args:
            folder: Folder to create.
            changes: See ``edit``.
        """
        shutil.copytree(self.folder, folder, symlinks=True)
        copy = type(self)(folder)
        if changes:
            copy.edit(**changes)
        return copy

    def edit(self, **changes: object) -> None:
        """Give keys of the first model in params.yaml other values: ``epochs=3``."""
        path = self.folder / "params.yaml"
        text = path.read_text(encoding="utf-8")
        for key, value in changes.items():
            text, count = re.subn(rf"^( +{key}: )\S+", rf"\g<1>{value}", text, count=1, flags=re.MULTILINE)
            assert count == 1, key
        path.write_text(text, encoding="utf-8")

    def run(self, *command: str, code: int = 0, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run a command in the project, which must end with this exit code."""
        run = subprocess.run(
            command, cwd=self.folder, env=self.environment | environment, capture_output=True, text=True, check=False
        )
        assert run.returncode == code, run.stdout + run.stderr
        return run

    def stage(self, name: str, *arguments: str, code: int = 0, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run a stage by hand."""
        return self.run(sys.executable, "-m", f"stages.{name}", *arguments, code=code, **environment)

    def tool(self, module: str, *arguments: str, code: int = 0, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run a module of this checkout in the project: ``checks.gate``."""
        return self.run(sys.executable, "-m", module, *arguments, code=code, PYTHONPATH=str(ROOT), **environment)

    def repro(self, *targets: str) -> list[str]:
        """Names of the stages that `dvc repro` runs, without unchanged stages and those from the run cache."""
        return re.findall(r"Running stage '(.*)'", self.run("dvc", "repro", *targets).stdout)

    def commit(self) -> str:
        """Commit all that Git does not ignore."""
        return commit(self.folder)

    def files(self) -> dict[str, bytes]:
        """Contents of all files below the folder, except caches and the corpus, by path."""
        hidden = re.compile(r"(^|/)(\.git|\.dvc|__pycache__|corpus)/")
        paths = [path for path in self.folder.rglob("*") if path.is_file()]
        names = {path.relative_to(self.folder).as_posix(): path for path in paths}
        return {name: path.read_bytes() for name, path in names.items() if not hidden.search(name)}

    def take_a_gru(self) -> None:
        """Give the CNN-LSTM a layer that the compiled trainer does not have."""
        kind = self.folder / "sentiment/kinds/cnn_lstm.py"
        assert "layers.LSTM(" in kind.read_text()
        kind.write_text(kind.read_text().replace("layers.LSTM(", "layers.GRU("))

    def add_a_kind(self, name: str) -> None:
        """Add one file: a kind of model that is a copy of the GRU."""
        kinds = self.folder / "sentiment/kinds"
        text = (kinds / "gru.py").read_text()
        (kinds / f"{name}.py").write_text(text.replace('Literal["gru"]', f'Literal["{name}"]'))
