"""Health check of one environment, from outside (``recsys monitor``).

``observe`` collects facts, ``findings`` judges them, ``commands`` prints. Alarms are defined in Terraform
(``modules/monitoring``).
"""
