"""Terraform's wrapper: with the real program on a stack without a provider, and with a fake program that fails."""

import json
import os
import signal
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from recsys_assets.aws_errors import AwsCallFailed, AwsErrorKind
from recsys_deploy.deploy.errors import DeployError
from recsys_deploy.deploy.terraform import Change, Progress, Terraform
from tests.deploy import fake_terraform
from tests.patience import PATIENCE_S, wait_until

STACK = """
terraform {
  backend "local" {}
}
variable "names" {
  type = set(string)
  validation {
    condition     = length(var.names) < 9
    error_message = "at most eight names."
  }
}
variable "secret" {
  type      = string
  default   = ""
  sensitive = true
}
resource "terraform_data" "one" {
  for_each = var.names
  input    = each.key
}
resource "terraform_data" "kept" {
  triggers_replace = length(var.names)
}
output "names" { value = sort(var.names) }
output "knows_secret" { value = nonsensitive(var.secret != "") }
"""


def tree(root: Path) -> Path:
    """A stack and an environment ``dev``."""
    folder = root / "terraform"
    (folder / "stack").mkdir(parents=True)
    (folder / "environments" / "dev").mkdir(parents=True)
    (folder / "stack" / "main.tf").write_text(STACK)
    (folder / "environments" / "dev" / "terraform.tfvars").write_text("")
    (folder / "environments" / "dev" / "backend.hcl").write_text(f'path = "{root}/dev.tfstate"\n')
    return folder


@pytest.fixture
def real(tmp_path: Path, terraform_binary: None, monkeypatch: pytest.MonkeyPatch) -> Terraform:
    """The real program."""
    monkeypatch.delenv("TF_CLI_CONFIG_FILE", raising=False)
    made = Terraform(tree(tmp_path), "dev", data_dir=tmp_path / "data")
    made.init()
    return made


class Fake:
    """The program that plays, with what it is told."""

    def __init__(self, root: Path) -> None:
        self.home = root / "fake"
        self.home.mkdir()
        program = root / "terraform-that-plays"
        program.write_text(
            f"#!{sys.executable}\nimport runpy\nrunpy.run_path({fake_terraform.__file__!r}, run_name='__main__')\n"
        )
        program.chmod(program.stat().st_mode | stat.S_IXUSR)
        self.progress: list[Progress] = []
        self.runner = Terraform(
            tree(root),
            "dev",
            data_dir=root / "data",
            binary=str(program),
            variables={"FAKE_TERRAFORM": str(self.home)},
            on_progress=self.progress.append,
        )

    def told(self, command: str, *, exit: int = 1, errors: tuple[str, ...] = (), **diagnostic: str) -> None:
        """From now on ``command`` says this."""
        lines = [{"type": "diagnostic", "diagnostic": {"severity": "error", **diagnostic}}] if diagnostic else []
        content = {"lines": lines, "errors": errors, "exit": exit}
        (self.home / f"{command}.json").write_text(json.dumps(content))

    def made(self) -> list[str]:
        """Addresses of what it made and did not remove."""
        return json.loads((self.home / "made.json").read_text())

    def calls(self) -> list[dict[str, Any]]:
        """What it was called with."""
        return [json.loads(line) for line in (self.home / "calls").read_text().splitlines()]


@pytest.fixture
def fake(tmp_path: Path) -> Fake:
    """The program that plays."""
    return Fake(tmp_path)


# The real program


def test_plan_apply_output_destroy(real: Terraform) -> None:
    plan = real.plan({"names": ["a", "b"]})
    assert {(change.address, change.action) for change in plan.changes} == {
        ('terraform_data.one["a"]', "create"),
        ('terraform_data.one["b"]', "create"),
        ("terraform_data.kept", "create"),
    }
    assert not plan.destructive and stat.S_IMODE(plan.file.stat().st_mode) == 0o600
    assert real.output() == {}
    real.apply(plan)
    assert not plan.file.exists()
    assert real.output() == {"names": ["a", "b"], "knows_secret": False}
    assert real.plan({"names": ["a", "b"]}).is_empty
    gone = real.plan({"names": ["a", "b"]}, destroy=True)
    real.apply(gone)
    assert gone.destroy and gone.count("delete") == 3
    assert real.plan({"names": []}, destroy=True).is_empty


def test_removals_and_replacements_are_named(real: Terraform) -> None:
    real.apply(real.plan({"names": ["a", "b"]}))
    plan = real.plan({"names": ["a", "c", "d"]})
    assert set(plan.destructive) == {
        Change("terraform_data.kept", "terraform_data", "replace"),
        Change('terraform_data.one["b"]', "terraform_data", "delete"),
    }
    assert (plan.count("create"), plan.is_empty) == (2, False)


def test_a_change_of_outputs_alone_is_a_change(real: Terraform) -> None:
    real.apply(real.plan({"names": ["a"]}))
    with_secret = Terraform(real.stack.parent, "dev", data_dir=real.data_dir, variables={"TF_VAR_secret": "rk_secret"})
    plan = with_secret.plan({"names": ["a"]})
    assert not plan.changes and not plan.is_empty
    with_secret.apply(plan)
    assert real.output()["knows_secret"] is True
    assert not [file for file in real.data_dir.rglob("*") if file.is_file() and b"rk_secret" in file.read_bytes()]


def test_a_stale_plan_is_refused(real: Terraform) -> None:
    first = real.plan({"names": ["a"]})
    kept = first.file.read_bytes()
    real.apply(first)
    first.file.write_bytes(kept)
    with pytest.raises(DeployError, match="stale"):
        real.apply(first)


def test_a_refused_value_names_the_rule(real: Terraform) -> None:
    with pytest.raises(DeployError, match=r"at most eight names.*terraform\.tfvars; nothing was changed"):
        real.plan({"names": list("abcdefghi")})
    assert not (real.data_dir / "plan.tfplan").exists()


def test_a_state_held_by_another_says_who_and_how_to_free_it(real: Terraform, monkeypatch: pytest.MonkeyPatch) -> None:
    import fcntl

    monkeypatch.setattr("recsys_deploy.deploy.terraform.LOCK_WAIT", "0s")
    real.apply(real.plan({"names": ["a"]}))
    state = Path(real.values / "backend.hcl").read_text().split('"')[1]
    info = {
        "ID": "9db590f1-b6fe",
        "Operation": "OperationTypeApply",
        "Who": "ada@laptop",
        "Created": "2026-11-20T10:00:00Z",
    }
    Path(state).with_name(f".{Path(state).name}.lock.info").write_text(json.dumps(info))
    with Path(state).open("r+") as held:
        fcntl.lockf(held, fcntl.LOCK_EX)
        with pytest.raises(
            DeployError, match=r"ada@laptop, OperationTypeApply, since 2026-11-20.*force-unlock 9db590f1-b6fe"
        ):
            real.plan({"names": ["b"]})


# The program that plays


def test_an_apply_that_stops_half_way_goes_on_with_the_next(fake: Fake) -> None:
    problem = {"summary": "creating Kinesis Stream", "detail": "LimitExceededException: too many streams"}
    stop = {"before": fake_terraform.RESOURCES[2], "problem": problem}
    (fake.home / "stop").write_text(json.dumps(stop))
    with pytest.raises(
        DeployError, match=r"2 of 5 changes were made and remain.*too many streams.*run the same command"
    ) as stopped:
        fake.runner.apply(fake.runner.plan({}))
    assert fake_terraform.RESOURCES[2] in str(stopped.value)
    assert [progress.failed for progress in fake.progress] == [False, False, True]
    (fake.home / "stop").unlink()
    rest = fake.runner.plan({})
    assert [change.address for change in rest.changes] == fake_terraform.RESOURCES[2:]
    fake.runner.apply(rest)
    assert fake.runner.output() == {"count": 5} and fake.runner.plan({}).is_empty


def test_a_destroy_that_stops_half_way_goes_on_with_the_next(fake: Fake) -> None:
    fake.runner.apply(fake.runner.plan({}))
    problem = {"summary": "deleting S3 Bucket", "detail": "BucketNotEmpty: it is not empty"}
    (fake.home / "stop").write_text(json.dumps({"before": fake_terraform.RESOURCES[3], "problem": problem}))
    with pytest.raises(DeployError, match="BucketNotEmpty"):
        fake.runner.apply(fake.runner.plan({}, destroy=True))
    assert fake.made() == fake_terraform.RESOURCES[3:]
    (fake.home / "stop").unlink()
    rest = fake.runner.plan({}, destroy=True)
    fake.runner.apply(rest)
    assert rest.count("delete") == 2
    assert fake.made() == []


FAILURES: list[tuple[str, str, str, AwsErrorKind | None, str]] = [
    (
        "plan",
        "Error acquiring the state lock",
        "Error message: operation error S3: PutObject, StatusCode: 412, PreconditionFailed\nLock Info:\n"
        "  ID:        9db590f1-b6fe-c5f2\n  Path:      bucket/key\n  Operation: OperationTypeApply\n"
        "  Who:       ada@laptop\n  Version:   1.11.4\n  Created:   2026-11-20 10:00:00 UTC\n",
        None,
        r"ada@laptop, OperationTypeApply, since 2026-11-20 10:00:00 UTC.*force-unlock 9db590f1-b6fe-c5f2",
    ),
    (
        "apply",
        "creating DynamoDB Table (recsys-dev-history)",
        "operation error DynamoDB: CreateTable, https response error StatusCode: 400, api error "
        "AccessDeniedException: User: arn:aws:iam::123456789012:user/ada is not authorized to perform: "
        "dynamodb:CreateTable on resource: arn:aws:dynamodb:eu-central-1:123456789012:table/recsys-dev-history",
        AwsErrorKind.ACCESS_DENIED,
        "allow dynamodb:CreateTable on arn:aws:dynamodb:eu-central-1:123456789012:table/recsys-dev-history",
    ),
    (
        "plan",
        "Retrieving AWS account details",
        "operation error STS: GetCallerIdentity, StatusCode: 403, api error ExpiredToken: The security token included "
        "in the request is expired",
        AwsErrorKind.CREDENTIALS_EXPIRED,
        "sign in again",
    ),
    (
        "apply",
        "creating Lambda Function",
        "operation error Lambda: CreateFunction, StatusCode: 429, TooManyRequestsException: Rate exceeded",
        AwsErrorKind.THROTTLED,
        "0 of 5 changes were made and remain.*run it again",
    ),
    (
        "apply",
        "creating IAM Role",
        "EntityAlreadyExists: Role recsys-dev-api already exists.",
        None,
        "terraform import",
    ),
    ("init", "Failed to query available provider packages", "could not connect", None, "--plugin-dir"),
    ("init", "Invalid backend configuration argument", '"buckett"', None, "backend.hcl; nothing was changed"),
    ("plan", "Invalid value for variable", "log_days must be one of", None, "log_days.*terraform.tfvars"),
]


@pytest.mark.parametrize(("command", "summary", "detail", "kind", "words"), FAILURES, ids=lambda value: str(value)[:30])
def test_failures_say_what_to_do(
    fake: Fake, command: str, summary: str, detail: str, kind: AwsErrorKind | None, words: str
) -> None:
    plan = fake.runner.plan({})
    fake.told(command, summary=summary, detail=detail)
    calls = {"init": fake.runner.init, "plan": lambda: fake.runner.plan({}), "apply": lambda: fake.runner.apply(plan)}
    with pytest.raises((DeployError, AwsCallFailed), match=f"(?s)terraform {command}.*{words}") as raised:
        calls[command]()
    assert kind is None or raised.value.problem.kind is kind


def test_what_no_message_says_is_taken_from_stderr(fake: Fake) -> None:
    fake.told("plan", errors=("Error: Failed to load plugin schemas", "exec format error"))
    with pytest.raises(DeployError, match="exec format error"):
        fake.runner.plan({})


def test_warnings_are_no_errors(fake: Fake) -> None:
    said = [
        {
            "type": "diagnostic",
            "diagnostic": {"severity": "warning", "summary": "deprecated", "detail": "AccessDenied"},
        },
        "not json",
        {"type": "diagnostic", "diagnostic": {"severity": "error", "summary": "Invalid backend configuration"}},
    ]
    (fake.home / "init.json").write_text(json.dumps({"lines": said, "exit": 1}))
    with pytest.raises(DeployError, match="failed: Invalid backend configuration; correct"):
        fake.runner.init()


def test_a_missing_and_an_old_program(tmp_path: Path, fake: Fake) -> None:
    missing = Terraform(fake.runner.stack.parent, "dev", data_dir=tmp_path, binary="no-such-terraform")
    with pytest.raises(DeployError, match="no-such-terraform is not on the path"):
        missing.version()
    assert fake.runner.version() == "1.11.4"
    (fake.home / "version.json").write_text(json.dumps({"lines": [{"terraform_version": "1.5.7"}]}))
    with pytest.raises(DeployError, match=r"1\.5\.7 is too old; install 1\.11"):
        fake.runner.version()


def test_what_it_is_called_with(fake: Fake, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TF_VAR_storefront_key", "left over in the shell")
    fake.runner.init()
    fake.runner.plan({"packages": {}})
    init, plan = fake.calls()
    assert f"-backend-config={fake.runner.values}/backend.hcl" in init["arguments"]
    assert plan["data"] == str(fake.runner.data_dir / "terraform")
    files = [argument for argument in plan["arguments"] if argument.startswith("-var-file=")]
    assert files == [
        f"-var-file={fake.runner.values}/terraform.tfvars",
        f"-var-file={fake.runner.data_dir}/variables.tfvars.json",
    ]
    assert "left over in the shell" not in json.dumps(plan) and not any(
        a.startswith("-var=") for a in plan["arguments"]
    )


@pytest.fixture
def stubborn(tmp_path: Path) -> Iterator[tuple[Terraform, Path]]:
    """A program that ends on an interrupt only, and writes down that it got one."""
    program, noted = tmp_path / "stubborn", tmp_path / "noted"
    program.write_text(
        f"#!{sys.executable}\nimport pathlib, signal, sys, time\n"
        f"def end(*_):\n    pathlib.Path({str(noted)!r}).write_text('interrupted')\n    sys.exit(1)\n"
        'signal.signal(signal.SIGINT, end)\nprint(\'{"type": "ready"}\', flush=True)\ntime.sleep(60)\n'
    )
    program.chmod(0o755)
    yield Terraform(tree(tmp_path), "dev", data_dir=tmp_path / "data", binary=str(program)), noted


def test_an_interrupt_lets_terraform_end_what_it_has_begun(stubborn: tuple[Terraform, Path]) -> None:
    terraform, noted = stubborn
    # In a process of its own: an interrupt of this one would end the tests.
    code = (
        "from pathlib import Path\nfrom recsys_deploy.deploy.terraform import Terraform\n"
        f"runner = Terraform(Path({str(terraform.stack.parent)!r}), 'dev', data_dir=Path({str(terraform.data_dir)!r}), "
        f"binary={terraform._binary!r})\n"
        "print('go', flush=True)\nrunner._run(['apply'], lambda message: print(message['type'], flush=True))\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    watchdog = threading.Timer(PATIENCE_S, process.kill)
    watchdog.start()
    try:
        assert process.stdout is not None
        assert [process.stdout.readline().strip() for _ in range(2)] == ["go", "ready"]
        os.kill(process.pid, signal.SIGINT)
        assert process.wait() != 0
    finally:
        watchdog.cancel()
        process.kill()
    wait_until(noted.is_file, "the interrupt was noted")
    assert noted.read_text() == "interrupted"
