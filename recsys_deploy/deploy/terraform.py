"""Runs Terraform for one environment as a child process and reads its JSON output.

Messages of ``-json`` (HashiCorp, "Machine-readable UI Output Reference", version 1) are stable; Terraform's text for
people is not. The plan's changes are taken from these messages, because ``terraform show -json`` would start the
provider once more, which takes several seconds. Values of variables are passed in a file or in ``TF_VAR_*``, never as
arguments, which every process of the machine can read.
"""

import json
import os
import re
import shutil
import signal
import subprocess
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, Final

from lambda_api.atomic_files import write_text
from recsys_assets.aws_errors import AwsCallFailed, AwsErrorKind, classify_aws_error
from recsys_deploy.deploy.errors import DeployError

OLDEST: Final = (1, 11)
PLAN_FILE: Final = "plan.tfplan"
VARIABLES_FILE: Final = "variables.tfvars.json"
SHOWN_CHARACTERS: Final = 800
LOCK_WAIT: Final = "60s"

PARALLELISM: Final = 30
"""Terraform mostly waits for AWS; its default is ten operations at a time."""

_NO_PROVIDER: Final = re.compile(
    r"Failed to query available provider packages|Failed to install provider|Inconsistent dependency lock file"
    r"|provider registry .* does not have a provider|could not connect to registry|Required plugins are not installed"
)
_LOCK_FIELD: Final = r"^\W*{}:\s*(.+?)\s*$"
_NOT_OF_AWS: Final = (AwsErrorKind.OTHER, AwsErrorKind.INVALID_REQUEST, AwsErrorKind.QUOTA)
"""Kinds for which Terraform's own remedy (correct the values, or go on) says more."""

Message = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Change:
    """One planned change; ``action`` is ``create``, ``update``, ``replace`` or ``delete``."""

    address: str
    kind: str
    action: str

    @property
    def destroys(self) -> bool:
        """Whether an existing resource is removed."""
        return self.action in ("delete", "replace")


@dataclass(frozen=True, slots=True)
class Plan:
    """The changes that an apply would make.

    Attributes:
        file: the saved plan. It holds every value, also secrets: only its owner may read it, and it is removed once
            applied.
        changes: resources in Terraform's order, without reads of data.
        outputs_change: whether an output would change.
        destroy: whether it is the plan of a destroy.
    """

    file: Path
    changes: tuple[Change, ...]
    outputs_change: bool
    destroy: bool = False

    @property
    def is_empty(self) -> bool:
        """Whether an apply would do nothing."""
        return not self.changes and not self.outputs_change

    @property
    def destructive(self) -> tuple[Change, ...]:
        """Changes that remove something that exists."""
        return tuple(change for change in self.changes if change.destroys)

    def count(self, action: str) -> int:
        """Number of changes with this action."""
        return sum(change.action == action for change in self.changes)


@dataclass(frozen=True, slots=True)
class Progress:
    """One change of an apply that ended: ``done`` of ``total`` are complete."""

    address: str
    action: str
    failed: bool
    seconds: float
    done: int
    total: int


@dataclass
class CommandOutput:
    """Exit status, JSON messages and other lines of a Terraform command."""

    status: int = 0
    messages: list[Message] = field(default_factory=list)
    lines: list[str] = field(default_factory=list)

    def of_type(self, kind: str) -> list[Message]:
        """Messages of one type, such as ``planned_change``."""
        return [message for message in self.messages if message.get("type") == kind]

    @property
    def error(self) -> str:
        """Terraform's error diagnostics; without any, the last lines that it printed."""
        diagnostics = [message["diagnostic"] for message in self.of_type("diagnostic")]
        texts = [
            f"{one.get('address', '')} {one.get('summary', '')}\n{one.get('detail', '')}".strip()
            for one in diagnostics
            if one["severity"] == "error"
        ]
        return "\n".join(texts or self.lines[-20:])


class Terraform:
    """Terraform on one environment. Every method may raise a `DeployError` or an `AwsCallFailed`.

    Args:
        folder: the tree with ``stack/`` and ``environments/<environment>/``.
        environment: name of one.
        data_dir: folder of this environment for Terraform's files, the plan and the variables.
        plugin_dir: folder of providers; ``None``: Terraform downloads them.
        environment_variables: of the child process; by default those of this one.
        variables: of the child process, beside them; ``TF_VAR_*`` for secrets.
        binary: the program; by default ``terraform`` from the path.
        on_progress: called for every change that ends.
    """

    def __init__(
        self,
        folder: Path,
        environment: str,
        *,
        data_dir: Path,
        plugin_dir: Path | None = None,
        environment_variables: Mapping[str, str] | None = None,
        variables: Mapping[str, str] | None = None,
        binary: str = "terraform",
        on_progress: Callable[[Progress], None] = lambda progress: None,
    ) -> None:
        self.stack = folder.resolve() / "stack"
        self.values = folder.resolve() / "environments" / environment
        self.data_dir = data_dir.resolve()
        self._plugin_dir = plugin_dir.resolve() if plugin_dir else None
        self._inherited = environment_variables
        self._variables = dict(variables or {})
        self._binary = binary
        self._on_progress = on_progress

    def version(self) -> str:
        """The program's version. Raises `DeployError` where it is missing or too old."""
        output = self._run(["version", "-json"])
        found = re.search(r'"terraform_version": *"((\d+)\.(\d+)[^"]*)"', "\n".join(output.lines))
        if found is None or (int(found[2]), int(found[3])) < OLDEST:
            said = found[1] if found else " ".join(output.lines)[:100]
            raise DeployError(f"Terraform {said} is too old", remedy=f"install {'.'.join(map(str, OLDEST))} or later")
        return found[1]

    def init(self) -> None:
        """Install modules and provider, and connect to the state. May be repeated."""
        arguments = ["init", "-json", "-input=false", "-reconfigure"]
        arguments += [f"-backend-config={self.values / 'backend.hcl'}"]
        arguments += [f"-plugin-dir={self._plugin_dir}"] if self._plugin_dir else []
        output = self._run(arguments)
        if output.status == 0:
            return
        if _NO_PROVIDER.search(output.error):
            raise DeployError(
                f"terraform init cannot get the provider hashicorp/aws ({_short(output.error)})",
                remedy="allow access to Terraform's registry, or name a folder made by `terraform providers mirror` "
                "with --plugin-dir",
            )
        raise _failure(output, "terraform init", f"correct {self.values / 'backend.hcl'}; nothing was changed")

    def plan(self, variables: Mapping[str, Any], *, destroy: bool = False) -> Plan:
        """Compare the environment with the configuration, and save the changes that an apply would make.

        Args:
            variables: values beside those of ``terraform.tfvars``; none of them secret.
            destroy: plan the removal of everything.
        """
        file = self.data_dir / PLAN_FILE
        file.unlink(missing_ok=True)
        given = write_text(self.data_dir / VARIABLES_FILE, json.dumps(variables, indent=1, sort_keys=True))
        arguments = ["plan", *_common(), f"-out={file}", *(["-destroy"] if destroy else [])]
        arguments += [f"-var-file={self.values / 'terraform.tfvars'}", f"-var-file={given}"]
        output = self._run(arguments)
        if output.status != 0:
            file.unlink(missing_ok=True)
            remedy = f"correct {self.values / 'terraform.tfvars'}; nothing was changed"
            raise _failure(output, "terraform plan", remedy)
        file.chmod(0o600)
        changes = [message["change"] for message in output.of_type("planned_change")]
        outputs = [one.get("action") for message in output.of_type("outputs") for one in message["outputs"].values()]
        return Plan(
            file,
            tuple(
                Change(one["resource"]["addr"], one["resource"]["resource_type"], one["action"])
                for one in changes
                if one["action"] not in ("noop", "read")
            ),
            any(action not in (None, "noop") for action in outputs),
            destroy,
        )

    def apply(self, plan: Plan) -> None:
        """Make the changes of ``plan`` and no others. The saved plan is removed.

        After an error, what was made is in the state, and the next plan contains the rest.
        """
        # Terraform tells of a replacement twice: removed, made.
        done, total = 0, len(plan.changes) + plan.count("replace")

        def listen(message: Message) -> None:
            nonlocal done
            if message.get("type") in ("apply_complete", "apply_errored"):
                failed = message["type"] == "apply_errored"
                hook = message["hook"]
                seconds = float(hook.get("elapsed_seconds", 0))
                address, action = hook["resource"]["addr"], hook.get("action", "")
                done += not failed
                self._on_progress(Progress(address, action, failed, seconds, done, total))

        try:
            output = self._run(["apply", *_common(), str(plan.file)], listen)
        finally:
            plan.file.unlink(missing_ok=True)
        if output.status != 0:
            made = f"{done} of {total} changes were made and remain"
            raise _failure(output, f"terraform apply ({made})", "run the same command again, which makes the rest")

    def output(self) -> Mapping[str, Any]:
        """Values of the outputs, also sensitive ones; empty before the first apply."""
        output = self._run(["output", "-json"])
        if output.status != 0:
            raise _failure(output, "terraform output", "run `recsys deploy` again")
        return {name: one["value"] for name, one in json.loads("\n".join(output.lines) or "{}").items()}

    def _environment(self) -> dict[str, str]:
        inherited = os.environ if self._inherited is None else self._inherited
        kept = {name: value for name, value in inherited.items() if not name.startswith("TF_VAR_")}
        # The provider's schema is half a gigabyte of short-lived objects: collecting them less often saves a third of
        # the time.
        usual = {"TF_IN_AUTOMATION": "1", "CHECKPOINT_DISABLE": "1", "GOGC": kept.get("GOGC", "400")}
        return {**kept, **usual, "TF_DATA_DIR": str(self.data_dir / "terraform"), **self._variables}

    def _run(
        self, arguments: Sequence[str], on_message: Callable[[Message], None] = lambda message: None
    ) -> CommandOutput:
        """Run a command to its end. Ctrl-C is passed on, and Terraform finishes the operations that it has begun."""
        if shutil.which(self._binary) is None:
            raise DeployError(
                f"{self._binary} is not on the path",
                remedy="install Terraform 1.11 or later (developer.hashicorp.com/terraform)",
            )
        output = CommandOutput()
        process = subprocess.Popen(
            [self._binary, f"-chdir={self.stack}", *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=self._environment(),
            # In a group of its own: Ctrl-C in the terminal reaches this process alone, which passes it on once.
            start_new_session=True,
        )
        assert process.stdout is not None and process.stderr is not None
        errors = threading.Thread(target=_collect, args=(process.stderr, output.lines), daemon=True)
        errors.start()
        try:
            try:
                _read(process.stdout, output, on_message)
            except KeyboardInterrupt:
                process.send_signal(signal.SIGINT)
                _read(process.stdout, output, on_message)
                process.wait()
                raise
            output.status = process.wait()
        finally:
            if process.poll() is None:
                process.terminate()
                process.wait()
            errors.join(timeout=5)
        return output


def _common() -> list[str]:
    return ["-json", "-input=false", f"-lock-timeout={LOCK_WAIT}", f"-parallelism={PARALLELISM}"]


def _collect(stream: IO[str], lines: list[str]) -> None:
    lines.extend(line.rstrip("\n") for line in stream)


def _read(stream: IO[str], output: CommandOutput, on_message: Callable[[Message], None]) -> None:
    for line in stream:
        try:
            message = json.loads(line)
        except ValueError:
            message = None
        if isinstance(message, dict) and "type" in message:
            output.messages.append(message)
            on_message(message)
        else:
            output.lines.append(line.rstrip("\n"))


def _failure(output: CommandOutput, command: str, remedy: str) -> DeployError | AwsCallFailed:
    """The error of a command that failed: the lock's owner, a known error of AWS, or Terraform's own words."""
    text = output.error
    if "Error acquiring the state lock" in text:
        lock = {
            name: found[1] if (found := re.search(_LOCK_FIELD.format(name), text, re.MULTILINE)) else "unknown"
            for name in ("ID", "Who", "Created", "Operation")
        }
        return DeployError(
            f"{command}: another run holds the state of this environment: {lock['Who']}, {lock['Operation']}, since "
            f"{lock['Created']}",
            remedy="wait for it to end; only if that run is certainly dead, release the state with "
            f"`terraform -chdir=terraform/stack force-unlock {lock['ID']}`",
        )
    if "account must be verified" in text:
        return DeployError(
            f"{command}: AWS has not verified this account for CloudFront yet ({_short(text)})",
            remedy="open a case with AWS Support, or set storefront = null and run the same command again",
        )
    problem = classify_aws_error(text, command)
    if problem.kind in _NOT_OF_AWS:
        return DeployError(f"{command} failed: {_short(text)}", remedy=remedy)
    if problem.kind is AwsErrorKind.NAME_TAKEN:
        # An interrupted apply leaves this where AWS answered too late.
        return DeployError(
            problem.message,
            remedy="a resource of this name exists that Terraform does not know: make sure that nobody uses it, then "
            "delete it or import it (terraform import) and run the same command again",
        )
    return AwsCallFailed(problem)


def _short(text: str) -> str:
    return " ".join(text.split())[:SHOWN_CHARACTERS]
