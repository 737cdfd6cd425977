"""Runs code skills with no authority of their own: no network, no environment, no files but their own, and limits.

In comes a `Call` (a program, one of its functions, its arguments), out goes a `Result`. A code skill's file
`scripts/NAME.py` defines typed functions at its top level; a call names one and passes its arguments by keyword, as
JSON. `run` chooses between Monty (`monty`) and a jail with full Python (`pool`, `jail`), or refuses.
"""

from metaclaw.sandbox.run import Sandbox
from metaclaw.sandbox.values import Call, Limits, Result

__all__ = ["Call", "Limits", "Result", "Sandbox"]
