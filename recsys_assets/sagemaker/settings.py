"""From settings to what jobs are asked for: placement and hardware.

Put the reading of ``RECSYS_TRAINING_*`` for jobs here. Keep their rules (``lambda_api.settings``, and the plans) out.
"""

from lambda_api.settings import Settings, split_list
from recsys_assets.sagemaker.job import Hardware, Placement


def placement_of(settings: Settings) -> Placement:
    """Whose rights jobs have, and where they run."""
    return Placement(
        settings.training_image,
        settings.training_role_arn,
        split_list(settings.training_subnets),
        split_list(settings.training_security_groups),
        settings.training_kms_key,
    )


def hardware_of(settings: Settings) -> Hardware:
    """What jobs run on."""
    return Hardware(
        instance_type=settings.training_instance_type,
        volume_gb=settings.training_volume_gb,
        spot=settings.training_spot,
        max_runtime_s=settings.training_max_runtime_s,
        max_wait_s=settings.training_max_wait_s,
    )
