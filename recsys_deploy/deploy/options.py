"""Options of the commands that work on an environment, importable without boto3."""

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from lambda_api.settings import Settings


class Promotion(StrEnum):
    """Whether an uploaded model becomes champion in the environment."""

    AUTO = "auto"
    ALWAYS = "always"
    NEVER = "never"


@dataclass(frozen=True, kw_only=True)
class EnvironmentOptions:
    """Options of every command that runs Terraform; those of ``recsys destroy``.

    Attributes:
        environment: name of a folder in ``terraform/environments``.
        terraform: the tree with ``stack`` and ``environments``.
        plugin_dir: folder of Terraform providers; ``None``: Terraform downloads them.
        data_dir: Terraform's files between runs; ``None``: ``build/terraform/<environment>`` of the checkout.
        yes: agree beforehand to changes that remove something, and to changing prod.
    """

    environment: str
    terraform: Path
    plugin_dir: Path | None = None
    data_dir: Path | None = None
    yes: bool = False

    @property
    def checkout(self) -> Path:
        """Folder of the checkout."""
        return self.terraform.resolve().parent

    @property
    def data(self) -> Path:
        """`data_dir`, or its default."""
        return self.data_dir or self.checkout / "build" / "terraform" / self.environment


@dataclass(frozen=True, kw_only=True)
class DeployOptions(EnvironmentOptions):
    """Options of ``recsys deploy``.

    Attributes:
        home: settings of the home whose champion and lake are uploaded.
        packages: folder of built zips; ``None``: they are built now.
        create_state_bucket: create the bucket of Terraform's state if it is missing.
        image_tag: of the container images; ``None``: the git revision of this checkout.
        bring_model: whether the home's champion is uploaded.
        promotion: whether it becomes champion there.
    """

    home: Settings
    packages: Path | None = None
    create_state_bucket: bool = False
    image_tag: str | None = None
    bring_model: bool = True
    promotion: Promotion = Promotion.AUTO
