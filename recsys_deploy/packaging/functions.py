"""The functions that are packaged, and what each of them needs.

Put a function here when it runs on Lambda from a zip. Keep versions out: ``constraints.txt`` has them, for everything.

boto3 is in the zips although the runtime brings one: the runtime's is older than ours by a time that AWS chooses,
changes under running functions, and was tested by nobody here. What makes it heavy are descriptions of four hundred
services; only those a function calls are kept.
"""

from dataclasses import dataclass

from lambda_api.errors import RecsysError


class PackagingError(RecsysError):
    """A package cannot be made; the message names what is missing and the remedy."""


@dataclass(frozen=True, slots=True)
class FunctionSpec:
    """What goes into one zip.

    Attributes:
        name: of the function and of the zip.
        handler: as Lambda is told: module and function.
        requirements: what its code imports, by the names of ``pyproject.toml``; what these need in turn is found.
        services: of AWS that its code calls, as boto3 names them.
    """

    name: str
    handler: str
    requirements: tuple[str, ...]
    services: tuple[str, ...]


_SCORING_SERVICES = ("dynamodb", "kinesis", "s3", "sagemaker-runtime", "sqs")

FUNCTIONS = {
    spec.name: spec
    for spec in (
        FunctionSpec(
            "api",
            "lambda_api.handlers.api.handler",
            ("aws-lambda-powertools[tracer]", "boto3", "numpy", "onnxruntime", "pydantic"),
            # The X-Ray SDK opens its own client.
            (*_SCORING_SERVICES, "xray"),
        ),
        # In front of every request, so it carries neither arrays nor Powertools.
        FunctionSpec("authorizer", "lambda_api.handlers.authorizer.handler", ("boto3", "pydantic"), ("dynamodb",)),
        FunctionSpec(
            "shadow",
            "lambda_api.handlers.shadow.handler",
            ("boto3", "numpy", "onnxruntime", "pydantic"),
            _SCORING_SERVICES,
        ),
    )
}
"""By name."""

ONLY_ELSEWHERE = ("lambda_api/local_server/", "lambda_api/handlers/inference_server.py")
"""Of the code: what only a laptop and a container run, and what would need their servers."""


def spec_of(name: str) -> FunctionSpec:
    """The function of that name. Raises `PackagingError` where there is none."""
    if name not in FUNCTIONS:
        raise PackagingError(f"there is no function {name!r} to package; there are {', '.join(FUNCTIONS)}")
    return FUNCTIONS[name]
