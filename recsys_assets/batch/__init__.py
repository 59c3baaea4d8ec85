"""What a batch asks: one question per known shopper, made where the lake is read.

Put the making of batch input here. Keep answering it and what becomes of answers (``recsys_deploy.batch``) out.
"""
