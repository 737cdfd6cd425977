"""The demo: a small working week, before and after learning."""

from metaclaw.bench.demo.run import DemoPlan, run_demo

__all__ = ["DemoPlan", "run_demo"]
