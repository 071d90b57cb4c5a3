"""What the tests ask of a Prefect 3 API, real or fake, beyond single requests."""

import uuid
from datetime import datetime, timedelta, timezone
from typing import NamedTuple

from prefect_server.rest import Rest

# Of the guarded server; the password has a colon of its own.
AUTH_STRING = "admin:se:cret"


def at(seconds):
    """A time so many seconds from now, as the API takes it."""
    return (datetime.now(timezone.utc) + timedelta(seconds=seconds)).isoformat()


def when(text):
    """A time that the API gave."""
    return datetime.fromisoformat(text.replace("Z", "+00:00"))


class Verdict(NamedTuple):
    """What became of a proposed state."""

    http: int
    status: str
    state: dict
    reason: str | None


# What the fake is a fake of.
FAKE_VERSION = "3.8.8"


class Prefect3(Rest):
    """Each test makes a pool of its own, so that servers can be shared."""

    def __init__(self, url, headers=None, version=FAKE_VERSION):
        super().__init__(url, headers)
        self.version = version

    def pool(self, **spec):
        """A new work pool's name."""
        name = f"pool-{uuid.uuid4().hex[:12]}"
        self.post("/work_pools/", {"name": name, "type": "ecs", **spec})
        return name

    def flow(self, name="etl"):
        return self.post("/flows/", {"name": name})["id"]

    def deployment(self, pool, flow="etl", **spec):
        """A new deployment's id."""
        given = {"name": f"d-{uuid.uuid4().hex[:12]}", "flow_id": self.flow(flow), "work_pool_name": pool, **spec}
        return self.post("/deployments/", given)["id"]

    def run(self, deployment, due_in=-5, **spec):
        """A new flow run's id; due in so many seconds."""
        scheduled = {"type": "SCHEDULED", "state_details": {"scheduled_time": at(due_in)}}
        return self.post(f"/deployments/{deployment}/create_flow_run", {"state": scheduled, **spec})["id"]

    def propose(self, run, kind, name=None, force=False, data=None, message=None, **details):
        """Proposes a state; what became of it."""
        state = {"type": kind, "data": data, "message": message, "state_details": details}
        if name is not None:
            state["name"] = name
        body = {"state": state, "force": force}
        http, answer = self.ask("POST", f"/flow_runs/{run}/set_state", body)
        assert http in (200, 201), f"{kind} {name}: {http} {answer}"
        return Verdict(http, answer["status"], answer["state"], answer["details"].get("reason"))

    def take(self, run, *proposals):
        """Leads a run through states, each of which must be accepted; the last of them."""
        verdict = None
        for kind, name, *details in proposals:
            verdict = self.propose(run, kind, name, **(details[0] if details else {}))
            assert verdict.status == "ACCEPT", verdict
        return verdict and verdict.state

    def read(self, run):
        return self.get(f"/flow_runs/{run}")

    def history(self, run):
        """Its states, oldest first."""
        return self.get(f"/flow_run_states/?flow_run_id={run}")

    def rows(self, pool, **body):
        """What a poll is told."""
        return self.post(f"/work_pools/{pool}/get_scheduled_flow_runs", body)

    def due(self, pool, **body):
        """The ids of the runs that a poll is told of, in order."""
        return [row["flow_run"]["id"] for row in self.rows(pool, **body)]

    def find(self, pool, *types):
        """The rows of a pool's runs in one of these state types."""
        query = {"flow_runs": {"state": {"type": {"any_": list(types)}}}, "work_pools": {"name": {"any_": [pool]}}}
        return self.post("/flow_runs/filter", {**query, "limit": 200, "offset": 0})
