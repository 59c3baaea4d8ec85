"""An environment's values, read from Terraform's files ``terraform.tfvars`` and ``backend.hcl``."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from recsys_deploy.deploy.errors import DeployError

VALUES: Final = "terraform.tfvars"
BACKEND: Final = "backend.hcl"


@dataclass(frozen=True, slots=True)
class Environment:
    """One environment as its two files describe it.

    Attributes:
        name: folder name in ``environments/``.
        folder: of its files.
        values: of ``terraform.tfvars``.
        backend: of ``backend.hcl``.
    """

    name: str
    folder: Path
    values: Mapping[str, Any]
    backend: Mapping[str, Any]

    @property
    def region(self) -> str:
        """AWS region of everything but the state."""
        return str(self.values["region"])

    @property
    def is_disposable(self) -> bool:
        """Whether it may be destroyed with its data."""
        return self.values.get("disposable") is True

    @property
    def prefix(self) -> str:
        """Prefix of every name in it."""
        return f"recsys-{self.values['environment']}"


def read_environment(folder: Path, name: str) -> Environment:
    """The environment ``name`` of the tree in ``folder``. Raises `DeployError` where a file is missing or wrong."""
    place = folder.resolve() / "environments" / name
    if not re.fullmatch(r"[a-z][a-z0-9-]*", name) or not (place / VALUES).is_file():
        names = sorted(path.parent.name for path in folder.glob(f"environments/*/{VALUES}"))
        remedy = f"choose {', '.join(names)}" if names else f"run this from a checkout; {folder} has no environments"
        raise DeployError(f"there is no environment {name!r}", remedy=remedy)
    values, backend = read_values(place / VALUES), read_values(place / BACKEND)
    for needed in ("environment", "region"):
        if not isinstance(values.get(needed), str):
            raise DeployError(f"{place / VALUES} sets no {needed}", remedy=f'add {needed} = "..."')
    if values["environment"] != name:
        raise DeployError(
            f'{place / VALUES} sets environment = "{values["environment"]}", but it is in the folder of {name}',
            remedy="change one of them",
        )
    return Environment(name, place, values, backend)


def read_values(file: Path) -> dict[str, Any]:
    """Every ``name = literal`` of an HCL file. Raises `DeployError` for a missing file or a computed value."""
    import hcl2
    from lark.exceptions import LarkError

    try:
        text = file.read_text(encoding="utf-8")
        options = hcl2.SerializationOptions(strip_string_quotes=True, with_comments=False)
        found = hcl2.loads(text + "\n", serialization_options=options)
    except FileNotFoundError as error:
        raise DeployError(f"{file} is missing", remedy="every environment has one; copy another's") from error
    except LarkError as error:
        raise DeployError(f"{file} cannot be read: {str(error).splitlines()[0]}", remedy="correct it") from error
    return {name: _literal(value, f"{file}: {name}") for name, value in found.items()}


def _literal(value: Any, where: str) -> Any:
    """``value`` without the parser's marks; refuses what Terraform would have to compute."""
    if isinstance(value, dict):
        return {name.strip('"'): _literal(one, f"{where}.{name}") for name, one in value.items()}
    if isinstance(value, list):
        return [_literal(one, where) for one in value]
    if isinstance(value, str) and re.search(r"(?<!\$)\$\{|(?<!%)%\{|^<<", value):
        number = re.fullmatch(r"\$\{(-?[0-9.]+[eE][+-]?[0-9]+)\}", value)
        if number:
            return float(number[1])
        raise DeployError(f"{where} is computed ({value[:60]})", remedy="write a literal value")
    return value
