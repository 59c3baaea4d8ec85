"""Placement and hardware of jobs, from the settings ``RECSYS_TRAINING_*``."""

from dataclasses import replace

from lambda_api.settings import Settings, split_list
from recsys_assets.sagemaker.job import Hardware, Placement


def placement_of(settings: Settings) -> Placement:
    """Image, role and network of jobs."""
    return Placement(
        settings.training_image,
        settings.training_role_arn,
        split_list(settings.training_subnets),
        split_list(settings.training_security_groups),
        settings.training_kms_key,
    )


def inference_placement(settings: Settings) -> Placement:
    """Image, role and network of models that answer: endpoints and batch transforms."""
    return replace(placement_of(settings), image=settings.inference_image)


def hardware_of(settings: Settings) -> Hardware:
    """Instance, disk and time limits of jobs."""
    return Hardware(
        instance_type=settings.training_instance_type,
        volume_gb=settings.training_volume_gb,
        spot=settings.training_spot,
        max_runtime_s=settings.training_max_runtime_s,
        max_wait_s=settings.training_max_wait_s,
    )
