"""What an environment will cost a month: its values, a shop's traffic, and a dated table of public prices.

Put here quantities, prices and their product. Keep AWS itself out: nothing is asked, so this works before there is an
account.
"""
