"""The Lambda functions that are packaged as zips, and the libraries and AWS services that each of them uses.

Versions are in ``constraints.txt``. boto3 is in the zips although Lambda's runtime has one: AWS changes that one under
running functions, and it was never tested here. The descriptions of four hundred services make boto3 large; a zip
keeps only those that its function calls.
"""

from dataclasses import dataclass

from lambda_api.errors import RecsysError


class PackagingError(RecsysError):
    """A package cannot be made."""


@dataclass(frozen=True, slots=True)
class FunctionSpec:
    """Contents of one zip.

    Attributes:
        name: of the function and of the zip.
        handler: module and function, as Lambda's ``Handler``.
        requirements: libraries that the code imports, by their names in ``pyproject.toml``; dependencies are resolved.
        services: AWS services that the code calls, by boto3's names.
        code: modules and packages of this project beside ``lambda_api``, as paths in the checkout.
    """

    name: str
    handler: str
    requirements: tuple[str, ...]
    services: tuple[str, ...]
    code: tuple[str, ...] = ()


_SCORING_SERVICES = ("dynamodb", "firehose", "kinesis", "s3", "sagemaker-runtime", "sqs")

FUNCTIONS = {
    spec.name: spec
    for spec in (
        FunctionSpec(
            "api",
            "lambda_api.handlers.api.handler",
            ("aws-lambda-powertools[tracer]", "boto3", "numpy", "onnxruntime", "pydantic"),
            # The X-Ray SDK opens a client of its own.
            (*_SCORING_SERVICES, "xray"),
        ),
        # It runs before every request, so it has neither numpy nor Powertools.
        FunctionSpec("authorizer", "lambda_api.handlers.authorizer.handler", ("boto3", "pydantic"), ("dynamodb",)),
        FunctionSpec(
            "shadow",
            "lambda_api.handlers.shadow.handler",
            ("boto3", "numpy", "onnxruntime", "pydantic"),
            _SCORING_SERVICES,
        ),
        FunctionSpec(
            "judge",
            "recsys_deploy.rollout.handler.handle",
            # ONNX Runtime: a bundle is asked for two lists before shoppers meet it.
            ("boto3", "numpy", "onnxruntime", "pyarrow", "pydantic"),
            ("cloudwatch", "dynamodb", "s3", "sns"),
            (
                "recsys_assets/__init__.py",
                "recsys_assets/event_stream.py",
                "recsys_assets/lake.py",
                "recsys_assets/registry",
                "recsys_deploy/__init__.py",
                "recsys_deploy/experiments",
                "recsys_deploy/release/__init__.py",
                "recsys_deploy/release/check.py",
                "recsys_deploy/release/route.py",
                "recsys_deploy/release/strategies.py",
                *(
                    f"recsys_deploy/rollout/{name}.py"
                    for name in ("__init__", "evidence", "handler", "judge", "plan", "record", "routes", "steps")
                ),
            ),
        ),
    )
}
"""Every packaged function by name."""

ONLY_ELSEWHERE = ("lambda_api/local_server/", "lambda_api/handlers/inference_server.py")
"""Code that runs only on a laptop or in a container; it would need a web server in the zip."""


def spec_of(name: str) -> FunctionSpec:
    """The function ``name``. Raises `PackagingError` if it does not exist."""
    if name not in FUNCTIONS:
        raise PackagingError(f"there is no function {name!r} to package", remedy=f"choose {', '.join(FUNCTIONS)}")
    return FUNCTIONS[name]
