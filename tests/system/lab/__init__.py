"""The lab: two networks joined only by a gateway, in namespaces that vanish with the process.

Used alike by ./demo, the system tests and the benchmarks.
"""
