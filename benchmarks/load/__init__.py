"""Load on the local server: who the shoppers are (``locustfile``), and a run of a minute with its report (``run``)."""
