"""Questions of a batch, one per known shopper; answers and their storage are in ``recsys_deploy.batch``."""
