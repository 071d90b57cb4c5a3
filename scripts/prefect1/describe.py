"""Prints what Prefect itself makes of the flows beside this file when they are registered, as one line of JSON:
{flow's name: {"storage", "run_config", "core_version", "tasks": [{"name", "slug"}]}}.

Runs in the environments `prefect-0.15` and `prefect-1.4`.
"""

import json
import sys
from pathlib import Path

import prefect
from prefect.run_configs import UniversalRun
from prefect.storage import Local

FLOWS = Path(__file__).resolve().with_name("flows.py")
sys.path.insert(0, str(FLOWS.parent))

from flows import FLOWS as flows  # noqa: E402


def described(flow):
    # The container is a process on this machine: it finds the flows where they lie.
    flow.storage = Local(path=str(FLOWS), stored_as_script=True, add_default_labels=False)
    flow.storage.add_flow(flow)
    flow.run_config = UniversalRun()
    return {
        "storage": flow.storage.serialize(),
        "run_config": flow.run_config.serialize(),
        "core_version": prefect.__version__,
        "tasks": [{"name": task.name, "slug": slug} for task, slug in sorted(flow.slugs.items(), key=lambda t: t[1])],
    }


print(json.dumps({flow.name: described(flow) for flow in flows}))
