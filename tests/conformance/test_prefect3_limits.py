"""Concurrency limits of deployments: the real server and the fake."""

import uuid

import pytest
from orders import at, when

REACHED = "Deployment concurrency limit reached."


@pytest.fixture
def deployment(api):
    """With one slot and the strategy of choice."""

    def make(strategy):
        options = {"collision_strategy": strategy}
        return api.deployment(api.pool(), concurrency_limit=1, concurrency_options=options)

    return make


def slots(api, deployment):
    return api.get(f"/deployments/{deployment}")["global_concurrency_limit"]["active_slots"]


def lease(verdict):
    return verdict.state["state_details"]["deployment_concurrency_lease_id"]


def test_a_run_too_many_waits(api, deployment):
    one = deployment("ENQUEUE")
    first, second = api.run(one), api.run(one)
    api.take(first, ("PENDING", None))
    verdict = api.propose(second, "PENDING", transition_id=str(uuid.uuid4()))
    assert (verdict.http, verdict.status, verdict.reason) == (201, "REJECT", REACHED)
    assert (verdict.state["type"], verdict.state["name"]) == ("SCHEDULED", "AwaitingConcurrencySlot")
    details = verdict.state["state_details"]
    assert details["transition_id"] is None
    assert when(at(10)) < when(details["scheduled_time"]) <= when(at(30))
    assert api.read(second)["state_id"] == verdict.state["id"]


def test_or_is_cancelled(api, deployment):
    one = deployment("CANCEL_NEW")
    first, second = api.run(one), api.run(one)
    api.take(first, ("PENDING", None))
    verdict = api.propose(second, "PENDING")
    assert (verdict.http, verdict.status, verdict.reason) == (201, "REJECT", REACHED)
    assert (verdict.state["type"], verdict.state["message"]) == ("CANCELLED", REACHED)


def test_a_replayed_claim_takes_no_second_slot(api, deployment):
    one = deployment("ENQUEUE")
    run, ours = api.run(one), str(uuid.uuid4())
    first = api.propose(run, "PENDING", transition_id=ours)
    again = api.propose(run, "PENDING", transition_id=ours)
    assert (first.status, again.status) == ("ACCEPT", "REJECT")
    assert lease(first) == lease(again) is not None
    assert slots(api, one) == 1
    assert lease(api.propose(run, "PENDING", "Submitting")) == lease(first)


@pytest.mark.parametrize(
    "path",
    [
        [("SCHEDULED", "AwaitingRetry")],
        [("CRASHED", None)],
        [("RUNNING", None), ("COMPLETED", None)],
        [("CANCELLING", None), ("CANCELLED", None)],
    ],
    ids=lambda path: path[-1][0],
)
def test_whoever_leaves_frees_the_slot(api, deployment, path):
    one = deployment("ENQUEUE")
    first, second = api.run(one), api.run(one)
    api.take(first, ("PENDING", None), *path)
    assert slots(api, one) == 0
    api.take(second, ("PENDING", None))
    assert slots(api, one) == 1


def test_no_slots_at_all(api, deployment):
    one = deployment("ENQUEUE")
    limit = api.get(f"/deployments/{one}")["global_concurrency_limit"]["id"]
    api.patch(f"/v2/concurrency_limits/{limit}", {"limit": 0})
    verdict = api.propose(api.run(one), "PENDING")
    assert (verdict.http, verdict.status) == (200, "ABORT")
    assert verdict.reason == "The deployment concurrency limit is 0. The flow will deadlock if submitted again."
    assert verdict.state["type"] == "SCHEDULED"


def test_without_a_limit_there_is_no_lease(api):
    assert lease(api.propose(api.run(api.deployment(api.pool())), "PENDING")) is None
