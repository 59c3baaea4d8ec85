"""An environment's values, read from the files Terraform reads: ``terraform.tfvars`` and ``backend.hcl``.

Put the reading of such files here, and what this code asks of them. Keep meaning that only Terraform needs out.

Files of values hold literals (HCL native syntax specification, "Literal Values", "Tuples" and "Objects"); where
somebody computes a value, Terraform itself would refuse functions of variables there, and `read_values` refuses what is
left.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NoReturn

from recsys_deploy.deploy.errors import EnvironmentRefused

VALUES: Final = "terraform.tfvars"
BACKEND: Final = "backend.hcl"

_SKIPPED: Final = re.compile(r"(?:[ \t\r]+|#[^\n]*|//[^\n]*|/\*.*?\*/)+", re.DOTALL)
_TOKEN: Final = re.compile(
    r'(?P<string>"(?:[^"\\\n]|\\.)*")|(?P<number>-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?)|(?P<name>[A-Za-z_][\w-]*)'
    r"|(?P<mark>[\[\]{}=:,\n])"
)
_ESCAPE: Final = re.compile(
    r'\\(?:(?P<unicode>u[0-9A-Fa-f]{4}|U[0-9A-Fa-f]{8})|(?P<plain>["\\nrt]))|\\.|[$%](?P<template>\{)'
)
_PLAIN: Final = {'"': '"', "\\": "\\", "n": "\n", "r": "\r", "t": "\t"}
_WORDS: Final[Mapping[str, Any]] = {"true": True, "false": False, "null": None}


@dataclass(frozen=True, slots=True)
class Environment:
    """One environment as its two files describe it.

    Attributes:
        name: as in ``environments/<name>``.
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
        """Whether it may be destroyed with what it holds."""
        return self.values.get("disposable") is True

    @property
    def prefix(self) -> str:
        """What every name in it begins with."""
        return f"recsys-{self.values['environment']}"


def read_environment(folder: Path, name: str) -> Environment:
    """The environment ``name`` of the tree in ``folder``.

    Raises:
        EnvironmentRefused: there is no such environment, or a file of it cannot be used.
    """
    place = folder.resolve() / "environments" / name
    if not re.fullmatch(r"[a-z][a-z0-9-]*", name) or not (place / VALUES).is_file():
        there = sorted(path.parent.name for path in folder.glob(f"environments/*/{VALUES}"))
        known = f"there are {', '.join(there)}" if there else f"{folder} holds none; run this from a checkout"
        raise EnvironmentRefused(f"there is no environment {name!r}: {known}")
    values, backend = read_values(place / VALUES), read_values(place / BACKEND)
    for needed in ("environment", "region"):
        if not isinstance(values.get(needed), str):
            raise EnvironmentRefused(f'{place / VALUES} does not say {needed} = "..."')
    if values["environment"] != name:
        raise EnvironmentRefused(
            f'{place / VALUES} says environment = "{values["environment"]}", but it is the folder of {name}: one of '
            f"them "
            "is a copy that was not finished"
        )
    return Environment(name, place, values, backend)


def read_values(file: Path) -> dict[str, Any]:
    """Every ``name = literal`` of an HCL file; numbers are int where they are whole.

    Raises:
        EnvironmentRefused: there is no such file, or it holds something else than literals; the message has the line.
    """
    try:
        text = file.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise EnvironmentRefused(f"{file} is missing; every environment has one") from error
    return _Reader(text, str(file)).read()


class _Reader:
    """Recursive descent over the tokens of one file."""

    def __init__(self, text: str, file: str) -> None:
        self._text = text
        self._file = file
        self._at = 0
        self._kind = ""
        self._word = ""
        self._start = 0
        self._next()

    def read(self) -> dict[str, Any]:
        found = self._pairs("")
        return found

    def _next(self) -> None:
        if skipped := _SKIPPED.match(self._text, self._at):
            self._at = skipped.end()
        self._start = self._at
        if self._at == len(self._text):
            self._kind, self._word = "end", ""
            return
        token = _TOKEN.match(self._text, self._at)
        if token is None:
            self._fail(f"{self._text[self._at]!r} is no part of a literal")
        self._at = token.end()
        self._kind, self._word = str(token.lastgroup), token[0]

    def _newlines(self) -> None:
        while self._word == "\n":
            self._next()

    def _pairs(self, closing: str) -> dict[str, Any]:
        found: dict[str, Any] = {}
        self._newlines()
        while self._word != closing or self._kind == "string":
            if self._kind not in ("name", "string"):
                self._fail(f"a name was expected, not {self._word or 'the end of the file'!r}")
            name = self._string() if self._kind == "string" else self._word
            self._next()
            if self._word not in (("=", ":") if closing else ("=",)):
                self._fail(f"{name} is given no value")
            self._next()
            if name in found:
                self._fail(f"{name} stands there twice")
            found[name] = self._value()
            if self._word not in (("\n", ",", closing) if closing else ("\n", "")):
                self._fail(
                    f"after the value of {name} stands {self._word or 'the end of the file'!r}; only literals are read "
                    f"here"
                )
            if self._word == ",":
                self._next()
            self._newlines()
        return found

    def _value(self) -> Any:
        word = self._word
        if self._kind == "string":
            value: Any = self._string()
        elif self._kind == "number":
            value = float(word) if re.search(r"[.eE]", word) else int(word)
            value = int(value) if value == int(value) else value
        elif self._kind == "name" and word in _WORDS:
            value = _WORDS[word]
        elif word == "[":
            return self._list()
        elif word == "{":
            self._next()
            value = self._pairs("}")
        else:
            self._fail(f"{word or 'the end of the file'!r} is not a literal")
        self._next()
        return value

    def _list(self) -> list[Any]:
        found = []
        self._next()
        self._newlines()
        while self._word != "]" or self._kind == "string":
            found.append(self._value())
            self._newlines()
            if self._word == ",":
                self._next()
                self._newlines()
            elif self._word != "]":
                self._fail(f"in a list stands {self._word or 'the end of the file'!r} where a comma was expected")
        self._next()
        return found

    def _string(self) -> str:
        def plain(found: re.Match[str]) -> str:
            if found["template"]:
                self._fail("a text with ${...} is computed; only literals are read here")
            if found["unicode"]:
                return chr(int(found["unicode"][1:], 16))
            if not found["plain"]:
                self._fail(f"{found[0]!r} is no escape of HCL")
            return _PLAIN[found["plain"]]

        return _ESCAPE.sub(plain, self._word[1:-1])

    def _fail(self, problem: str) -> NoReturn:
        line = self._text.count("\n", 0, self._start) + 1
        raise EnvironmentRefused(f"{self._file}, line {line}: {problem}")
