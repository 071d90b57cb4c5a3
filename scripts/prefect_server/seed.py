"""A small team's Prefect: a work pool of type `ecs`, four deployments, flow runs that are due."""

import itertools
from datetime import datetime, timedelta, timezone
from pathlib import Path

from .rest import Rest

HERE = Path(__file__).resolve().parent

# Deployment, parameters, due in so many seconds: taken in turn until there are enough.
RUNS = [
    ("nightly", {}, 0),
    ("nightly", {"source": "customers", "rows": 5000}, 0),
    ("reports", {"customer": "Ada"}, 0),
    ("fragile", {}, 0),
    ("hungry", {}, 0),
    ("reports", {"customer": "Grace", "seconds": 1.5}, 10),
    ("nightly", {"source": "invoices", "rows": 20}, 10),
]
FLOWS = {"nightly": "etl", "reports": "report", "fragile": "fragile", "hungry": "hungry"}


def seed(url, pool, runs):
    """Creates all of it; what was created, by name and id."""
    api = Rest(url)
    work_pool = api.post("/work_pools/", {"name": pool, "type": "ecs"})
    deployments = {name: _deployment(api, pool, name, flow) for name, flow in FLOWS.items()}
    scheduled = [_run(api, deployments, *one) for one in itertools.islice(itertools.cycle(RUNS), runs)]
    return {
        "work_pool": {"id": work_pool["id"], "name": pool},
        "deployments": deployments,
        "flow_runs": scheduled,
    }


def source(flow):
    """Where a deployment says that its flow is. The container is a process on this machine: it finds the flows where they
    lie."""
    return {
        "entrypoint": f"flows.py:{flow}",
        "pull_steps": [{"prefect.deployments.steps.set_working_directory": {"directory": str(HERE)}}],
    }


def _deployment(api, pool, name, flow):
    given = {
        "name": name,
        "flow_id": api.post("/flows/", {"name": flow})["id"],
        "work_pool_name": pool,
        "tags": ["demo"],
        **source(flow),
    }
    return api.post("/deployments/", given)["id"]


def _run(api, deployments, deployment, parameters, due_in):
    due = (datetime.now(timezone.utc) + timedelta(seconds=due_in)).isoformat()
    given = {"parameters": parameters, "state": {"type": "SCHEDULED", "state_details": {"scheduled_time": due}}}
    run = api.post(f"/deployments/{deployments[deployment]}/create_flow_run", given)
    return {"id": run["id"], "name": run["name"], "deployment": deployment, "parameters": parameters, "due_in": due_in}
