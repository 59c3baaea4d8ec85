"""The script that an AWS Glue job runs: computes one feature table on Spark and reports to the asset that started it.

Glue runs this file as a script, with the packages it imports from the job's zip; the rest of the project is not there.
The task (``table``, ``lake_uri``, ``as_of``) and the result travel through Dagster Pipes.
"""

import sys
from datetime import datetime
from typing import Any

import boto3
from dagster_pipes import PipesCliArgsParamsLoader, PipesContext, PipesS3ContextLoader, open_dagster_pipes

from recsys_assets.features.spark_engine import SPARK_SETTINGS, write_features_on_spark
from recsys_assets.lake import Lake
from recsys_assets.sagemaker.messages import S3MessageWriter


def spark_session() -> Any:
    """The session of the job; a local one where there is no cluster."""
    from pyspark.sql import SparkSession

    builder = SparkSession.builder.appName("recsys-features")
    for name, value in SPARK_SETTINGS.items():
        builder = builder.config(name, value)
    return builder.getOrCreate()


def run(pipes: PipesContext) -> None:
    """Compute the table that ``pipes`` names, and report its address, rows and bytes."""
    table, lake = str(pipes.get_extra("table")), Lake(str(pipes.get_extra("lake_uri")))
    as_of = datetime.fromisoformat(str(pipes.get_extra("as_of")))
    session = spark_session()
    pipes.log.info(f"{table} as of {as_of.isoformat()} on Spark {session.version}, Python {sys.version.split()[0]}")
    try:
        written = write_features_on_spark(session, lake, table, as_of)
    finally:
        session.stop()
    pipes.report_custom_message({"uri": written.uri, "rows": written.rows, "bytes": written.bytes})


def main() -> None:
    """Entry point of the job."""
    s3 = boto3.client("s3")
    with open_dagster_pipes(
        params_loader=PipesCliArgsParamsLoader(),  # type: ignore[no-untyped-call]
        context_loader=PipesS3ContextLoader(client=s3),
        message_writer=S3MessageWriter(s3),
    ) as pipes:
        run(pipes)


if __name__ == "__main__":
    main()
