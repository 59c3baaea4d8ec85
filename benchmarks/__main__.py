"""``python -m benchmarks [--data FOLDER]``: every figure the README quotes, one table."""

import argparse
from pathlib import Path

from benchmarks import features, metrics, model_quality, pipeline, serving, synthetic_shop, synthetic_truth
from benchmarks.measure import print_rows

if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="benchmarks")
    parser.add_argument(
        "--data", type=Path, default=None, help="Online Retail daily drops, for the figures on a real shop"
    )
    data = parser.parse_args().data
    rows = [
        *metrics.run(),
        *synthetic_shop.run(),
        *synthetic_truth.run(),
        *features.run(),
        *model_quality.run(data),
        *pipeline.run(data),
        *serving.run(),
    ]
    print_rows("every benchmark", rows)
