"""Health check of one environment, from outside (``recsys monitor``).

``observe`` collects facts, ``findings`` judges them, ``commands`` prints. ``daily_metrics`` hands the figures of the
daily reports to CloudWatch. Alarms are defined in Terraform (``modules/monitoring``, ``stack/daily.tf``).
"""
