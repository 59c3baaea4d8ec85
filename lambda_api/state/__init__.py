"""What is read or written while serving, behind one small table port with two adapters (SQLite, DynamoDB).

Put storage of small keyed records here. Keep the data lake (``recsys_assets.lake``) and model bundles
(``lambda_api.recommender.bundle``) out. Import the submodules directly.
"""
