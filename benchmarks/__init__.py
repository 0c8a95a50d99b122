"""This lab beside its peers, in the same run and on the same work: ``python -m benchmarks``.

Each module measures one thing and has ``run(options)``, which yields tables. Times are read here by
a person, and never asserted in a test: they depend on the machine and on what else it does.
"""
