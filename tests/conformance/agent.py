"""Runs the real ECSAgent of the installed Prefect until its polls are used up. Its arguments come as JSON on stdin.

This runs in the environments `prefect-0.15` and `prefect-1.4`, never in that of the tests.
"""

import json
import sys

from prefect.agent.ecs import ECSAgent

ECSAgent(**json.load(sys.stdin)).start()
