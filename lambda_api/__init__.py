"""What answers a shopper: the recommender, the state it reads, and (with the API issue) the Lambda handlers.

Put code here when it runs while somebody waits for an answer, or when serving and offline evaluation must share it.
Keep pandas, torch, scipy, sklearn, Dagster and anything from ``recsys_assets`` or ``recsys_deploy`` out: an
import-linter contract holds that line.
"""
