"""The one recommender: id maps, histories, the scoring contract, its implementations and the bundle they live in.

Put code here when it turns a shopper's history into a ranked list. Import the submodules directly.
Keep fitting (``recsys_assets.models``) and I/O towards shoppers (``lambda_api.handlers``) out.
"""
