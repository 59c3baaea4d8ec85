"""Terraform as a child process: init, plan, apply, output, destroy of one environment, with progress and typed errors.

Put here how Terraform is called and its messages read. Keep what is deployed, and what to do about a plan, out.

Terraform's ``-json`` messages (HashiCorp, "Machine-readable UI Output Reference", version 1) are read line by line; its
text for people is not, because it may change. Values of variables travel in a file or in ``TF_VAR_*``, never in
arguments, which every process of the machine can read.
"""

import json
import os
import re
import shutil
import signal
import subprocess
import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from recsys_deploy.deploy.errors import (
    ApplyFailed,
    DeployError,
    InitFailed,
    PlanFailed,
    ProviderMissing,
    TerraformMissing,
)
from recsys_deploy.deploy.explain import explain

OLDEST: Final = (1, 11)
PLAN_FILE: Final = "plan.tfplan"
VARIABLES_FILE: Final = "variables.tfvars.json"
SHOWN_LINES: Final = 20
LOCK_WAIT: Final = "60s"

PARALLEL: Final = 30
"""Terraform mostly waits for AWS; by default it waits for ten things at a time."""

_NO_PROVIDER: Final = re.compile(
    r"Failed to query available provider packages|Failed to install provider|Inconsistent dependency lock file"
    r"|provider registry .* does not have a provider|could not connect to registry|Required plugins are not installed"
)


@dataclass(frozen=True, slots=True)
class Change:
    """One planned change: ``create``, ``update``, ``replace``, ``delete`` and rarer ones."""

    address: str
    kind: str
    action: str

    @property
    def destroys(self) -> bool:
        """Whether something that exists goes away."""
        return self.action in ("delete", "replace")


@dataclass(frozen=True, slots=True)
class Plan:
    """What an apply would do.

    Attributes:
        file: the saved plan. It holds every value, secret ones too: it is readable by its owner only, and removed once
            applied.
        changes: resources in Terraform's order; reads of data are not among them.
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

    def count(self, *actions: str) -> int:
        """How many changes are one of ``actions``."""
        return sum(change.action in actions for change in self.changes)


@dataclass(frozen=True, slots=True)
class Progress:
    """One thing that happened while applying: ``done`` of ``total`` changes are behind it."""

    event: str
    address: str
    action: str
    seconds: float
    done: int
    total: int


@dataclass
class _Heard:
    """What a command said."""

    problems: list[Mapping[str, Any]] = field(default_factory=list)
    tail: deque[str] = field(default_factory=lambda: deque(maxlen=SHOWN_LINES))

    def text(self) -> str:
        said = [
            f"{problem.get('address', '')} {problem.get('summary', '')}\n{problem.get('detail', '')}".strip()
            for problem in self.problems
        ]
        return "\n".join(said) or "\n".join(self.tail)


class Terraform:
    """Terraform on one environment.

    Args:
        folder: the tree with ``stack/`` and ``environments/<environment>/``.
        environment: name of one.
        data_dir: folder of this environment for what Terraform keeps between runs, the plan and the variables.
        plugin_dir: folder of providers to take instead of downloading; ``None``: Terraform's own ways.
        environment_variables: of the child process, beside those of this one; ``TF_VAR_*`` for secrets.
        binary: the program; by default ``terraform`` from the path.
        on_progress: called for every resource that begins or ends.

    Every call may raise a `DeployError` that says what to do.
    """

    def __init__(
        self,
        folder: Path,
        environment: str,
        *,
        data_dir: Path,
        plugin_dir: Path | None = None,
        environment_variables: Mapping[str, str] | None = None,
        binary: str = "terraform",
        on_progress: Callable[[Progress], None] = lambda progress: None,
    ) -> None:
        self.stack = folder.resolve() / "stack"
        self.values = folder.resolve() / "environments" / environment
        self.data_dir = data_dir.resolve()
        self._plugin_dir = plugin_dir.resolve() if plugin_dir else None
        self._variables = dict(environment_variables or {})
        self._binary = binary
        self._on_progress = on_progress

    def version(self) -> str:
        """The version of the program. Raises `TerraformMissing` where there is none, or one that is too old."""
        heard, output = _Heard(), list[str]()
        self._run(["version", "-json"], heard, output.append)
        try:
            found = str(json.loads("\n".join(output))["terraform_version"])
            numbers = tuple(int(part) for part in found.split("-")[0].split(".")[:2])
        except (ValueError, KeyError) as error:
            raise TerraformMissing(
                f"`{self._binary} version -json` answered {output[:3]}; install Terraform 1.11"
            ) from error
        if numbers < OLDEST:
            raise TerraformMissing(f"Terraform {found} is too old: install {'.'.join(map(str, OLDEST))} or later")
        return found

    def init(self) -> None:
        """Install modules and provider, and connect to the state. May be repeated.

        Raises:
            ProviderMissing, StateBucketMissing, InitFailed: or another `DeployError`.
        """
        arguments = ["init", "-json", "-input=false", "-reconfigure"]
        arguments += [f"-backend-config={self.values / 'backend.hcl'}"]
        arguments += [f"-plugin-dir={self._plugin_dir}"] if self._plugin_dir else []
        heard = _Heard()
        if self._run(arguments, heard, lambda line: _hear(line, heard)) == 0:
            return
        text = heard.text()
        if _NO_PROVIDER.search(text):
            raise ProviderMissing(
                f"terraform init: the provider hashicorp/aws cannot be had ({_short(text)}). Allow the way to "
                f"Terraform's registry, or give a folder made by `terraform providers mirror` as --plugin-dir"
            )
        raise explain(text, "terraform init") or InitFailed(
            f"terraform init failed: {_short(text)}. Nothing was changed; correct {self.values / 'backend.hcl'} or the "
            "stack, then run the same command"
        )

    def plan(self, variables: Mapping[str, Any], *, destroy: bool = False) -> Plan:
        """Compare the environment with the configuration, and save what an apply would do.

        Args:
            variables: values beside those of ``terraform.tfvars``; none of them secret.
            destroy: plan the removal of everything.

        Raises:
            PlanFailed: a value is wrong, or a precondition does not hold. Or another `DeployError`.
        """
        self.data_dir.mkdir(parents=True, exist_ok=True)
        file = self.data_dir / PLAN_FILE
        file.unlink(missing_ok=True)
        given = self.data_dir / VARIABLES_FILE
        given.write_text(json.dumps(variables, indent=1, sort_keys=True))
        arguments = ["plan", "-json", "-input=false", f"-lock-timeout={LOCK_WAIT}", f"-parallelism={PARALLEL}"]
        arguments += [f"-out={file}"]
        arguments += ["-destroy"] if destroy else []
        arguments += [f"-var-file={self.values / 'terraform.tfvars'}", f"-var-file={given}"]
        heard, changes, outputs = _Heard(), list[Change](), list[str]()

        def listen(line: str) -> None:
            message = _hear(line, heard)
            if message.get("type") == "planned_change" and (change := _change(message["change"])):
                changes.append(change)
            elif message.get("type") == "outputs":
                outputs.extend(one["action"] for one in message["outputs"].values() if "action" in one)

        if self._run(arguments, heard, listen) != 0:
            file.unlink(missing_ok=True)
            text = heard.text()
            raise explain(text, "terraform plan") or PlanFailed(
                f"terraform plan refused: {_short(text)}. Nothing was changed; correct "
                f"{self.values / 'terraform.tfvars'}, then run the same command"
            )
        file.chmod(0o600)
        return Plan(file, tuple(changes), any(action != "noop" for action in outputs), destroy)

    def apply(self, plan: Plan) -> None:
        """Do what ``plan`` says, and nothing else. The saved plan is removed.

        Raises:
            ApplyFailed: stopped half-way. What was made is in the state; plan and apply again, and the rest follows. Or
                another `DeployError`, to the same effect.
        """
        heard, done, total = _Heard(), [0], len(plan.changes)

        def listen(line: str) -> None:
            message = _hear(line, heard)
            if message.get("type") in ("apply_start", "apply_complete", "apply_errored"):
                done[0] += message["type"] == "apply_complete"
                self._tell(message, done[0], total)

        arguments = ["apply", "-json", "-input=false", f"-lock-timeout={LOCK_WAIT}", f"-parallelism={PARALLEL}"]
        try:
            status = self._run([*arguments, str(plan.file)], heard, listen)
        finally:
            plan.file.unlink(missing_ok=True)
        if status == 0:
            return
        text = heard.text()
        stands = f"{done[0]} of {total} changes were made and stand"
        if found := explain(text, f"terraform apply ({stands})"):
            raise found
        raise ApplyFailed(
            f"terraform apply stopped: {_short(text)}. {stands}; run the same command again, and it goes on with the "
            f"rest"
        )

    def output(self) -> Mapping[str, Any]:
        """Values of the outputs, sensitive ones too; empty where nothing was applied yet."""
        heard, output = _Heard(), list[str]()
        if self._run(["output", "-json"], heard, output.append) != 0:
            text = "\n".join([*output, *heard.tail])
            raise explain(text, "terraform output") or DeployError(f"terraform output failed: {_short(text)}")
        return {name: one["value"] for name, one in json.loads("\n".join(output) or "{}").items()}

    def resources(self) -> tuple[str, ...]:
        """Addresses of everything in the state; empty where there is no state yet."""
        heard, output = _Heard(), list[str]()
        if self._run(["state", "list"], heard, output.append) != 0:
            text = "\n".join([*output, *heard.tail])
            if "No state file was found" in text:
                return ()
            raise explain(text, "terraform state list") or DeployError(f"terraform state list failed: {_short(text)}")
        return tuple(line.strip() for line in output if line.strip())

    def destroy(self, variables: Mapping[str, Any]) -> Plan:
        """Remove everything without asking; returns what went. Whoever asks first plans with ``destroy=True``."""
        plan = self.plan(variables, destroy=True)
        self.apply(plan)
        return plan

    def _tell(self, message: Mapping[str, Any], done: int, total: int) -> None:
        hook = message["hook"]
        event = str(message["type"]).removeprefix("apply_")
        seconds = float(hook.get("elapsed_seconds", 0))
        self._on_progress(Progress(event, hook["resource"]["addr"], hook.get("action", ""), seconds, done, total))

    def _environment(self) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith("TF_VAR_")}
        # The provider describes itself in half a gigabyte of short-lived objects: collecting them less often saves a
        # third of the time.
        usual = {"TF_IN_AUTOMATION": "1", "CHECKPOINT_DISABLE": "1", "GOGC": kept.get("GOGC", "400")}
        return {**kept, **usual, "TF_DATA_DIR": str(self.data_dir / "terraform"), **self._variables}

    def _run(self, arguments: Sequence[str], heard: _Heard, on_line: Callable[[str], object]) -> int:
        """Run, handing every line of output to ``on_line``; Ctrl-C lets Terraform finish what it has begun."""
        if shutil.which(self._binary) is None:
            raise TerraformMissing(
                f"{self._binary} is not on the path: install Terraform 1.11 or later "
                f"(developer.hashicorp.com/terraform)"
            )
        command = [self._binary, f"-chdir={self.stack}", *arguments]
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=self._environment(),
            # A group of its own: Ctrl-C in the terminal reaches us alone, and we pass it on once.
            start_new_session=True,
        )
        assert process.stdout is not None and process.stderr is not None
        errors = threading.Thread(target=_collect, args=(process.stderr, heard.tail), daemon=True)
        errors.start()
        try:
            for line in process.stdout:
                on_line(line.rstrip("\n"))
            return process.wait()
        except KeyboardInterrupt:
            process.send_signal(signal.SIGINT)
            for line in process.stdout:
                on_line(line.rstrip("\n"))
            process.wait()
            raise
        finally:
            if process.poll() is None:
                process.terminate()
                process.wait()
            errors.join(timeout=5)


def _collect(lines: Iterator[str] | Any, tail: "deque[str]") -> None:
    for line in lines:
        tail.append(line.rstrip("\n"))


def _hear(line: str, heard: _Heard) -> Mapping[str, Any]:
    """The message in ``line``, errors noted; an empty one for a line that is none."""
    try:
        message = json.loads(line)
    except ValueError:
        message = None
    if not isinstance(message, dict):
        if line.strip():
            heard.tail.append(line)
        return {}
    diagnostic = message.get("diagnostic")
    if message.get("type") == "diagnostic" and isinstance(diagnostic, dict) and diagnostic.get("severity") == "error":
        heard.problems.append(diagnostic)
    return message


def _change(change: Mapping[str, Any]) -> Change | None:
    if change["action"] in ("noop", "read", "no-op"):
        return None
    resource = change["resource"]
    return Change(resource["addr"], resource["resource_type"], change["action"])


def _short(text: str) -> str:
    return " ".join(text.split())[:800]
