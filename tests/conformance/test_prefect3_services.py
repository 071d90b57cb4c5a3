"""What the server does by itself: the real server and the fake, both told to be quick about it."""

import time

import pytest
from orders import at

SECONDS = 40


@pytest.fixture
def served(guarded):
    """The guarded server, whose services run, and past its guard."""
    answer = guarded.get("/csrf-token?client=services")
    guarded.headers.update({"Prefect-Csrf-Token": answer["token"], "Prefect-Csrf-Client": "services"})
    return guarded


def until(served, run, name):
    """Waits for a state; the run's history by then."""
    deadline = time.monotonic() + SECONDS
    while served.read(run)["state_name"] != name:
        assert time.monotonic() < deadline, f"not {name}: {served.history(run)}"
        time.sleep(0.1)
    return served.history(run)


def test_a_run_that_nobody_takes_is_late_and_one_given_back_is_not(served):
    pool = served.pool()
    deployment = served.deployment(pool)
    late, given_back = served.run(deployment, due_in=-60), served.run(deployment, due_in=-60)
    scheduled = at(-50)
    mark = {"prefect_serverless_agent": {"attempt": 1}}
    served.take(given_back, ("PENDING", None), ("SCHEDULED", "AwaitingRetry", {"scheduled_time": scheduled}))
    first, last = until(served, late, "Late")
    # Its time is kept; a client's mark and message would be lost.
    assert last["state_details"]["scheduled_time"] == first["state_details"]["scheduled_time"]
    assert (last["data"], last["message"], last["state_details"]["transition_id"]) == (None, None, None)
    marked = served.run(deployment, due_in=-60)
    served.propose(marked, "SCHEDULED", "Scheduled", data=mark, message="no capacity", scheduled_time=scheduled)
    assert until(served, marked, "Late")[-1]["data"] is None
    assert served.read(given_back)["state_name"] == "AwaitingRetry"
    assert set(served.due(pool)) == {late, given_back, marked}


def test_a_run_that_stays_cancelling_is_cancelled(served):
    run = served.run(served.deployment(served.pool()))
    served.take(run, ("PENDING", None), ("CANCELLING", None))
    last = until(served, run, "Cancelled")[-1]
    assert last["type"] == "CANCELLED"
    assert last["message"] == "Flow run cancellation timed out; marked this flow run as Cancelled."
