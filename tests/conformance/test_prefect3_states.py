"""What a Prefect 3 API makes of proposed states: the real server and the fake, held to one table."""

import uuid

import pytest
from orders import at, when

# How a run gets into the state that a row of the table begins with.
PAUSE = {"pause_timeout": at(3600), "pause_key": "approval"}
PATHS = {
    "Scheduled": [],
    "Retry": [("PENDING", None), ("SCHEDULED", "AwaitingRetry")],
    "Pending": [("PENDING", None)],
    "Submitting": [("PENDING", None), ("PENDING", "Submitting")],
    "Infra": [("PENDING", None), ("PENDING", "InfrastructurePending")],
    "Running": [("PENDING", None), ("RUNNING", None)],
    "Paused": [("RUNNING", None), ("PAUSED", "Paused", PAUSE)],
    "Suspended": [("RUNNING", None), ("PAUSED", "Suspended", {**PAUSE, "pause_reschedule": True})],
    "Cancelling": [("PENDING", None), ("CANCELLING", None)],
    "Cancelled": [("CANCELLED", None)],
    "Completed": [("RUNNING", None), ("COMPLETED", None)],
    "Failed": [("RUNNING", None), ("FAILED", None)],
    "Crashed": [("PENDING", None), ("CRASHED", None)],
}

# The state that a column proposes.
PROPOSALS = {
    "Pending": ("PENDING", "Pending"),
    "Submitting": ("PENDING", "Submitting"),
    "Infra": ("PENDING", "InfrastructurePending"),
    "Scheduled": ("SCHEDULED", "Scheduled"),
    "Retry": ("SCHEDULED", "AwaitingRetry"),
    "Running": ("RUNNING", "Running"),
    "Cancelling": ("CANCELLING", "Cancelling"),
    "Cancelled": ("CANCELLED", "Cancelled"),
    "Crashed": ("CRASHED", "Crashed"),
    "Failed": ("FAILED", "Failed"),
    "Completed": ("COMPLETED", "Completed"),
}

# ok: accepted. abort, reject: refused, and the answer shows the state as it was. instead: Cancelled was written.
TABLE = """
           Pending Submitting Infra  Scheduled Retry  Running Cancelling Cancelled Crashed Failed Completed
Scheduled  ok      ok         ok     ok        ok     ok      instead    ok        ok      ok     ok
Retry      ok      ok         ok     ok        ok     ok      instead    ok        ok      ok     ok
Pending    abort   ok         ok     ok        ok     ok      ok         ok        ok      ok     ok
Submitting abort   abort      ok     ok        ok     ok      ok         ok        ok      ok     ok
Infra      abort   ok         abort  ok        ok     ok      ok         ok        ok      ok     ok
Running    abort   abort      abort  ok        ok     ok      ok         ok        ok      ok     ok
Paused     reject  reject     reject ok        ok     ok      ok         ok        ok      ok     ok
Suspended  reject  reject     reject ok        ok     ok      instead    ok        ok      ok     ok
Cancelling reject  reject     reject reject    reject reject  reject     ok        reject  reject reject
Cancelled  abort   abort      abort  ok        ok     ok      abort      ok        abort   ok     ok
Completed  ok      ok         ok     ok        ok     ok      abort      ok        abort   ok     ok
Failed     ok      ok         ok     ok        ok     ok      abort      ok        abort   ok     ok
Crashed    ok      ok         ok     ok        ok     ok      abort      ok        abort   ok     ok
"""

HEADER, *ROWS = [line.split() for line in TABLE.strip().splitlines()]


def outcome(verdict, before, proposed):
    """The word of the table for what happened, or all of it where there is no word."""
    kind, name = proposed
    seen = (verdict.http, verdict.status, verdict.state["type"], verdict.state["name"])
    return {
        (201, "ACCEPT", kind, name): "ok",
        (200, "ABORT", *before): "abort",
        (200, "REJECT", *before): "reject",
        (201, "REJECT", "CANCELLED", "Cancelled"): "instead",
    }.get(seen, seen)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0])
def test_every_state_against_every_proposal(api, row):
    name, *expected = row
    deployment = api.deployment(api.pool())
    seen = []
    for column in HEADER:
        run = api.run(deployment)
        before = api.take(run, *PATHS[name]) or api.read(run)["state"]
        verdict = api.propose(run, *PROPOSALS[column])
        seen.append(outcome(verdict, (before["type"], before["name"]), PROPOSALS[column]))
        after = api.read(run)
        assert (after["state_type"], after["state_name"]) == (verdict.state["type"], verdict.state["name"])
        assert (after["state_id"] == before["id"]) == (verdict.http == 200)
    assert dict(zip(HEADER, seen)) == dict(zip(HEADER, expected))


@pytest.mark.parametrize("name", ["Scheduled", "Cancelling", "Cancelled", "Completed"])
def test_force_overrules_every_refusal_but_one(api, name):
    deployment = api.deployment(api.pool())
    for column in HEADER:
        run = api.run(deployment)
        api.take(run, *PATHS[name])
        verdict = api.propose(run, *PROPOSALS[column], force=True)
        nothing_to_stop = (name, column) == ("Scheduled", "Cancelling")
        expected = ("REJECT", "CANCELLED") if nothing_to_stop else ("ACCEPT", PROPOSALS[column][0])
        assert (verdict.status, verdict.state["type"]) == expected, column


@pytest.mark.parametrize(
    ("path", "proposed", "reason"),
    [
        ("Pending", "Pending", "This run is in a PENDING state and cannot transition to a PENDING state."),
        ("Running", "Pending", "This run is in a RUNNING state and cannot transition to a PENDING state."),
        ("Cancelled", "Pending", "This run is in a CANCELLED state and cannot transition to a PENDING state."),
        ("Cancelling", "Crashed", "Cannot transition flows that are cancelling to a state other than Cancelled."),
        ("Scheduled", "Cancelling", "Scheduled flow run has no infrastructure to terminate."),
        ("Completed", "Crashed", "Run is already in terminal state COMPLETED."),
    ],
)
def test_a_refusal_says_why(api, path, proposed, reason):
    run = api.run(api.deployment(api.pool()))
    api.take(run, *PATHS[path])
    assert api.propose(run, *PROPOSALS[proposed]).reason == reason


class TestTransitionIds:
    """A claim that is sent again is known again, as long as nothing has followed it."""

    @pytest.fixture
    def run(self, api):
        return api.run(api.deployment(api.pool()))

    def claim(self, api, run, transition_id):
        return api.propose(run, "PENDING", "Pending", transition_id=transition_id)

    def test_the_same_claim_again_is_answered_with_the_state_it_made(self, api, run):
        ours = str(uuid.uuid4())
        first = self.claim(api, run, ours)
        again = self.claim(api, run, ours)
        assert (again.http, again.status) == (200, "REJECT")
        assert again.reason == "This run has already made this state transition."
        assert again.state["id"] == first.state["id"]
        assert again.state["state_details"]["transition_id"] == ours
        assert len(api.history(run)) == 2

    @pytest.mark.parametrize("begun", [(), (("RUNNING", None),)], ids=["pending", "running"])
    def test_the_same_end_of_a_cancelled_run_is_taken_once(self, api, run, begun):
        api.take(run, ("PENDING", None), *begun, ("CANCELLING", None))
        before, ours = len(api.history(run)), str(uuid.uuid4())
        first = api.propose(run, "CANCELLED", "Cancelled", transition_id=ours)
        again = api.propose(run, "CANCELLED", "Cancelled", transition_id=ours)
        assert (first.http, first.status) == (201, "ACCEPT")
        assert (again.http, again.status) == (200, "REJECT")
        assert again.state["id"] == first.state["id"]
        assert again.state["state_details"]["transition_id"] == ours
        assert len(api.history(run)) == before + 1
        # By another name it would be taken once more.
        theirs = api.propose(run, "CANCELLED", "Cancelled", transition_id=str(uuid.uuid4()))
        assert theirs.status == "ACCEPT"

    def test_another_claim_is_aborted(self, api, run):
        ours = str(uuid.uuid4())
        self.claim(api, run, ours)
        theirs = self.claim(api, run, str(uuid.uuid4()))
        assert (theirs.http, theirs.status) == (200, "ABORT")
        assert theirs.state["state_details"]["transition_id"] == ours

    @pytest.mark.parametrize("name", ["Submitting", "InfrastructurePending"])
    def test_a_sub_state_hides_the_claim_but_not_from_the_history(self, api, run, name):
        ours = str(uuid.uuid4())
        self.claim(api, run, ours)
        api.take(run, ("PENDING", name))
        again = self.claim(api, run, ours)
        assert (again.http, again.status, again.state["name"]) == (200, "ABORT", name)
        assert again.state["state_details"]["transition_id"] is None
        ids = [state["state_details"]["transition_id"] for state in api.history(run) if state["name"] == "Pending"]
        assert ids == [ours]

    def test_a_run_that_runs_or_is_being_cancelled_refuses_it(self, api, run):
        ours = str(uuid.uuid4())
        self.claim(api, run, ours)
        api.take(run, ("RUNNING", None))
        assert self.claim(api, run, ours).status == "ABORT"
        api.take(run, ("CANCELLING", None))
        refused = self.claim(api, run, ours)
        assert (refused.status, refused.state["type"]) == ("REJECT", "CANCELLING")

    @pytest.mark.parametrize("path", [[("SCHEDULED", "AwaitingRetry")], [("RUNNING", None), ("COMPLETED", None)]])
    def test_it_is_accepted_once_more_after_a_give_back_or_an_end(self, api, run, path):
        """Only the newest state is compared: a late duplicate of a request revives a run."""
        ours = str(uuid.uuid4())
        self.claim(api, run, ours)
        api.take(run, *path)
        assert self.claim(api, run, ours).status == "ACCEPT"


class TestWhatAStateKeeps:
    MARK = {"prefect_serverless_agent": {"agent": "/root/etl", "attempt": 2, "story": ["a", {"b": None}]}}

    @pytest.fixture
    def run(self, api):
        return api.run(api.deployment(api.pool()))

    @pytest.mark.parametrize("kind", ["PENDING", "SCHEDULED"])
    def test_data_and_message_survive(self, api, run, kind):
        verdict = api.propose(run, kind, data=self.MARK, message="no capacity")
        for state in (verdict.state, api.read(run)["state"], api.history(run)[-1]):
            assert (state["data"], state["message"]) == (self.MARK, "no capacity")

    def test_known_details_survive_and_unknown_ones_are_dropped(self, api, run):
        ours = str(uuid.uuid4())
        details = api.propose(run, "PENDING", transition_id=ours, attempt=3).state["state_details"]
        assert (details["transition_id"], details["flow_run_id"]) == (ours, run)
        assert "attempt" not in details
        assert details["deployment_concurrency_lease_id"] is None

    def test_a_state_without_a_name_gets_that_of_its_type(self, api, run):
        assert api.propose(run, "PENDING").state["name"] == "Pending"
        assert api.propose(run, "SCHEDULED").state["name"] == "Scheduled"

    def test_pending_states_carry_the_time_they_were_scheduled_for(self, api, run):
        scheduled = api.history(run)[0]["state_details"]["scheduled_time"]
        api.take(run, ("PENDING", None), ("PENDING", "Submitting"))
        times = [state["state_details"]["scheduled_time"] for state in api.history(run)]
        assert times == [scheduled] * 3

    def test_a_run_given_back_without_a_time_is_due_now(self, api, run):
        before = at(0)
        api.take(run, ("PENDING", None), ("SCHEDULED", "AwaitingRetry"))
        state = api.read(run)["state"]
        assert when(before) <= when(state["state_details"]["scheduled_time"]) <= when(at(0))

    def test_running_before_its_time_has_to_wait(self, api):
        run = api.run(api.deployment(api.pool()), due_in=300)
        api.take(run, ("PENDING", None))
        status, answer = api.ask("POST", f"/flow_runs/{run}/set_state", {"state": {"type": "RUNNING"}, "force": False})
        assert (status, answer["status"], answer["details"]["type"]) == (200, "WAIT", "wait_details")
        assert 240 <= answer["details"]["delay_seconds"] <= 300


def test_the_history_is_in_order_and_complete(api):
    run = api.run(api.deployment(api.pool()))
    api.take(run, ("PENDING", None), ("PENDING", "Submitting"), ("SCHEDULED", "AwaitingRetry"), ("PENDING", None))
    api.propose(run, "PENDING")
    history = api.history(run)
    assert [state["name"] for state in history] == ["Scheduled", "Pending", "Submitting", "AwaitingRetry", "Pending"]
    assert history[-1]["id"] == api.read(run)["state_id"]
    assert [when(state["timestamp"]) for state in history] == sorted(when(state["timestamp"]) for state in history)


def test_numbers_that_the_agent_goes_by(api):
    """run_count, start_time and the pid tell whether a run has a past."""
    run = api.run(api.deployment(api.pool()))
    fresh = api.read(run)
    assert (fresh["run_count"], fresh["start_time"], fresh["infrastructure_pid"]) == (0, None, None)
    api.take(run, ("PENDING", None), ("SCHEDULED", "AwaitingRetry"), ("PENDING", None))
    claimed = api.read(run)
    assert (claimed["run_count"], claimed["start_time"]) == (0, None)
    assert claimed["expected_start_time"] == fresh["expected_start_time"]
    api.take(run, ("RUNNING", None))
    started = api.read(run)
    assert started["run_count"] == 1
    assert started["start_time"] is not None
    # A second container is not kept from running the same run.
    assert api.propose(run, "RUNNING").status == "ACCEPT"
    assert api.read(run)["run_count"] == 2
    api.take(run, ("CRASHED", None))
    ended = api.read(run)
    assert ended["start_time"] == started["start_time"]
    assert ended["end_time"] is not None
