"""Recommendations for every known shopper at once.

Questions come from ``recsys_assets.batch``; ``answering`` answers them with the champion, ``results`` stores the lists,
``run`` joins the steps for ``assets`` (Dagster) and ``commands`` (``recsys batch``), ``transform_job`` is the request
of a SageMaker batch transform.
"""
