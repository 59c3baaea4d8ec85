"""Lists for every known shopper at once: questions from the lake, answers of the champion, records and files of them.

Put batch recommending here. Keep answering one shopper (``lambda_api``) and the inference container out.
"""
