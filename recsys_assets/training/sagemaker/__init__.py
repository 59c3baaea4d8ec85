"""Our programs as SageMaker jobs: what is asked for, what an answer means, and what the container finds and tells.

Put what is true of SageMaker's jobs, whoever asks for one, here: requests and their rules, statuses, errors of AWS
calls, the ``/opt/ml`` folders, messages on S3, the image's entry point, and training as a job. Keep calling AWS and
Dagster's client (``recsys_assets.resources``) out, and the plans of the other stages' jobs, which lie with those stages
(``recsys_assets.tuning.tuning_job``, ``recsys_deploy.batch``).
"""
