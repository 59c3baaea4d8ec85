"""Reads Dockerfiles, as far as the checks need it."""

import json
import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
DOCKERFILES = sorted((ROOT / "docker").glob("*.Dockerfile"))


@dataclass(frozen=True)
class Instruction:
    """One instruction, continuation lines joined."""

    name: str
    text: str


@dataclass(frozen=True)
class Dockerfile:
    """The instructions of a file, in order."""

    path: Path
    instructions: tuple[Instruction, ...]

    def all(self, name: str) -> list[str]:
        """Texts of the instructions of that name."""
        return [instruction.text for instruction in self.instructions if instruction.name == name]

    def command_line(self) -> list[str]:
        """ENTRYPOINT and CMD together, as a container without arguments runs them; both in exec form."""
        return self.exec_form("ENTRYPOINT") + self.exec_form("CMD")

    def exec_form(self, name: str) -> list[str]:
        """The words of ENTRYPOINT or CMD. Raises ``ValueError`` for the shell form."""
        words = json.loads(self.all(name)[-1])
        if not isinstance(words, list):
            raise ValueError(f"{name} of {self.path.name} is not in exec form")
        return [str(word) for word in words]

    def copied(self) -> list[str]:
        """Sources of COPY from the build context."""
        lines = [text.split() for text in self.all("COPY") if not text.startswith("--from=")]
        return [source for words in lines for source in words[:-1]]

    def variables(self) -> dict[str, str]:
        """What ENV sets."""
        return {
            name: value for text in self.all("ENV") for name, _, value in (word.partition("=") for word in text.split())
        }


def read(path: Path) -> Dockerfile:
    """Parse the file at ``path``."""
    lines = [line for line in path.read_text().splitlines() if not line.lstrip().startswith("#")]
    joined = re.sub(r"\\\n", " ", "\n".join(lines))
    instructions = [line.strip().split(maxsplit=1) for line in joined.splitlines() if line.strip()]
    return Dockerfile(path, tuple(Instruction(name.upper(), text.strip()) for name, text in instructions))
