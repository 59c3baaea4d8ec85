"""Whether an environment is well, asked from outside.

Put what a person on call or a schedule would ask here. Keep alarms (Terraform, ``modules/monitoring``) and the drift of
data (``recsys_assets``) out.
"""
