"""A simulated year of a shop whose lists move its shoppers: what the loop of monitoring and training is worth.

``plan``: size, days, injected changes, candidates. ``shoppers``: how shoppers answer a list, from their hidden tastes.
``shop``: the real API in this process, with its crashes. ``sender``: what shoppers do, as events. ``pipeline``: the
real graph. ``rollouts``: real rollouts of the loop's versions and of candidates. ``arm``: one policy of training, day
by day, with checkpoints. ``run``: one arm in a process of its own. ``figures``: tables and picture. ``detection``:
detection and false alarms over many seeds, without serving.

    python -m benchmarks.year --weeks 52 --seeds 1
    python -m benchmarks.year.detection --seeds 10
"""
