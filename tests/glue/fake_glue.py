"""Glue as its API shows it: runs of one job that are a process here, or end as a test wants."""

import os
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from botocore.exceptions import ClientError

JOB = "recsys-test-features"
PROGRAM = Path(__file__).resolve().parents[2] / "recsys_assets" / "features" / "glue_features.py"

SPARK = (
    "--master local[1] --driver-memory 1g --conf spark.ui.enabled=false --conf spark.driver.host=127.0.0.1 "
    "--conf spark.driver.bindAddress=127.0.0.1 --conf spark.sql.shuffle.partitions=1 "
    "--conf spark.sql.adaptive.enabled=false pyspark-shell"
)


def refused(code: str, operation: str = "StartJobRun") -> ClientError:
    """An error of Glue."""
    return ClientError({"Error": {"Code": code, "Message": f"{code} it is"}}, operation)


@dataclass
class FakeGlue:
    """A client.

    Attributes:
        states: what every look at a run says, the last one for ever; empty: a run is the real program, looked at once.
        error: message of a run that did not succeed.
        trouble: raised by the next calls, one each, before anything else happens.
        environment: of the program.
    """

    states: list[str] = field(default_factory=list)
    error: str = ""
    trouble: list[ClientError] = field(default_factory=list)
    environment: dict[str, str] = field(default_factory=dict)
    started: list[dict[str, Any]] = field(default_factory=list)
    stopped: list[str] = field(default_factory=list)
    output: str = ""
    meta: Any = field(default_factory=lambda: SimpleNamespace(region_name="eu-central-1"))

    def start_job_run(self, **parameters: Any) -> dict[str, Any]:
        """See boto3."""
        self._trouble()
        self.started.append(parameters)
        if not self.states:
            self.states = ["RUNNING", self._really(parameters["Arguments"])]
        return {"JobRunId": f"jr_{len(self.started)}"}

    def get_job_run(self, *, JobName: str, RunId: str) -> dict[str, Any]:
        """See boto3."""
        assert JobName == JOB
        self._trouble()
        state = self.states.pop(0) if len(self.states) > 1 else self.states[0]
        run = {"Id": RunId, "JobName": JobName, "JobRunState": state, "LogGroupName": f"/aws-glue/jobs/{JOB}"}
        return {"JobRun": {**run, "ErrorMessage": self.error} if self.error else run}

    def batch_stop_job_run(self, *, JobName: str, JobRunIds: list[str]) -> dict[str, Any]:
        """See boto3."""
        self.stopped += JobRunIds
        return {"SuccessfulSubmissions": [{"JobName": JobName, "JobRunId": run} for run in JobRunIds], "Errors": []}

    def _trouble(self) -> None:
        if self.trouble:
            raise self.trouble.pop(0)

    def _really(self, arguments: dict[str, str]) -> str:
        """Glue gives the job's arguments, and its own, to the script."""
        command = [
            sys.executable,
            str(PROGRAM),
            "--JOB_NAME",
            JOB,
            *(part for pair in arguments.items() for part in pair),
        ]
        environment = {**os.environ, **self.environment, "PYSPARK_SUBMIT_ARGS": SPARK, "PYSPARK_PYTHON": sys.executable}
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
        self.output = done.stdout + done.stderr
        if done.returncode:
            self.error = self.output.strip().splitlines()[-1]
        return "SUCCEEDED" if done.returncode == 0 else "FAILED"
