"""Work pools, heartbeats, and what a poll is told: the real server and the fake."""

import pytest
from orders import FAKE_VERSION, at, when

UNKNOWN = "no-such-pool"


@pytest.fixture
def pool(api):
    return api.pool()


class TestWorkPools:
    def test_a_new_pool(self, api, pool):
        row = api.get(f"/work_pools/{pool}")
        known = {"name": pool, "type": "ecs", "base_job_template": {}, "is_paused": False, "concurrency_limit": None}
        assert {key: row[key] for key in known} == known
        assert row["status"] == "NOT_READY"
        assert row["default_queue_id"]

    def test_its_template_can_be_filled_in(self, api, pool):
        properties = {"cluster": {"type": "string", "default": "main"}}
        template = {"job_configuration": {"cluster": "{{ cluster }}"}, "variables": {"properties": properties}}
        assert api.ask("PATCH", f"/work_pools/{pool}", {"base_job_template": template}) == (204, None)
        assert api.get(f"/work_pools/{pool}")["base_job_template"] == template

    def test_an_unknown_pool_is_not_found_anywhere(self, api):
        missing = (404, {"detail": f'Work pool "{UNKNOWN}" not found.'})
        assert api.ask("GET", f"/work_pools/{UNKNOWN}") == missing
        assert api.ask("POST", f"/work_pools/{UNKNOWN}/get_scheduled_flow_runs", {}) == missing
        assert api.ask("POST", f"/work_pools/{UNKNOWN}/workers/heartbeat", {"name": "w"}) == missing

    def test_a_name_is_taken_once(self, api, pool):
        status, answer = api.ask("POST", "/work_pools/", {"name": pool, "type": "ecs"})
        assert (status, answer) == (409, {"detail": "A work pool with this name already exists."})

    def test_odd_characters_are_percent_encoded(self, api):
        name = "my pool; größer #1"
        api.ask("POST", "/work_pools/", {"name": name, "type": "ecs"})
        assert api.get("/work_pools/my%20pool%3B%20gr%C3%B6%C3%9Fer%20%231")["name"] == name


class TestHeartbeats:
    def beat(self, api, pool, **body):
        return api.ask("POST", f"/work_pools/{pool}/workers/heartbeat", body)

    def test_a_worker_appears_and_its_pool_is_ready(self, api, pool):
        assert self.beat(api, pool, name="etl", heartbeat_interval_seconds=60) == (204, None)
        assert self.beat(api, pool, name="etl", heartbeat_interval_seconds=60) == (204, None)
        (worker,) = api.post(f"/work_pools/{pool}/workers/filter", {})
        assert (worker["name"], worker["status"], worker["heartbeat_interval_seconds"]) == ("etl", "ONLINE", 60)
        assert api.get(f"/work_pools/{pool}")["status"] == "READY"

    def test_a_heartbeat_has_a_name(self, api, pool):
        assert self.beat(api, pool, heartbeat_interval_seconds=60)[0] == 422


class TestDueRuns:
    @pytest.fixture
    def deployment(self, api, pool):
        return api.deployment(pool)

    def test_a_row_has_what_a_launch_needs(self, api, pool, deployment):
        job_variables = {"cpu": 256, "env": {"COLOUR": "blue"}}
        run = api.run(deployment, parameters={"n": 1}, job_variables=job_variables, tags=["red"])
        (row,) = api.rows(pool, work_queue_names=[], scheduled_before=at(0))
        one = row["flow_run"]
        whole = api.read(run)
        assert row["work_pool_id"] == api.get(f"/work_pools/{pool}")["id"]
        assert row["work_queue_id"] == one["work_queue_id"] == whole["work_queue_id"]
        told = one["state"] and one["state"]["id"]
        assert told == (None if api.version == FAKE_VERSION else one["state_id"]), "a server of 3.9 tells more than the id"
        assert one["state_id"] == whole["state_id"]
        assert (one["state_type"], one["state_name"]) == ("SCHEDULED", "Scheduled")
        assert one["job_variables"] == job_variables
        assert (one["parameters"], one["tags"]) == ({"n": 1}, ["red"])
        assert (one["deployment_id"], one["flow_id"]) == (deployment, whole["flow_id"])
        assert (one["name"], one["run_count"], one["infrastructure_pid"]) == (whole["name"], 0, None)
        assert one["next_scheduled_start_time"] == whole["next_scheduled_start_time"]
        assert one["empirical_policy"]["retry_type"] is None

    def test_in_the_order_of_their_time_and_up_to_a_time(self, api, pool, deployment):
        third, first, second, far = (api.run(deployment, due_in=due) for due in (30, -40, -10, 600))
        assert api.due(pool, scheduled_before=at(60)) == [first, second, third]
        assert api.due(pool, scheduled_before=at(0)) == [first, second]
        assert api.due(pool, scheduled_before=at(0), scheduled_after=at(-25)) == [second]
        assert api.due(pool) == [first, second, third, far], "no time: all of them"
        assert api.due(pool, scheduled_before=at(60), limit=2) == [first, second]

    def test_a_page_has_at_most_200(self, api, pool):
        assert api.due(pool, limit=200) == []
        status, answer = api.ask("POST", f"/work_pools/{pool}/get_scheduled_flow_runs", {"limit": 201})
        assert (status, answer) == (422, {"detail": "Invalid limit: must be less than or equal to 200."})

    def test_only_scheduled_runs_of_whatever_name(self, api, pool, deployment):
        late, retry, claimed, ended = (api.run(deployment, due_in=due) for due in (-4, -3, -2, -1))
        api.take(late, ("SCHEDULED", "Late", {"scheduled_time": at(-4)}))
        api.take(retry, ("PENDING", None), ("SCHEDULED", "AwaitingRetry", {"scheduled_time": at(-3)}))
        api.take(claimed, ("PENDING", None))
        api.take(ended, ("CANCELLED", None))
        assert api.due(pool) == [late, retry]

    def test_a_run_given_back_comes_back_at_its_time_with_a_new_state(self, api, pool, deployment):
        run = api.run(deployment)
        (before,) = api.rows(pool)
        api.take(run, ("PENDING", None))
        given_back = api.propose(run, "SCHEDULED", "AwaitingRetry", scheduled_time=at(60))
        assert api.due(pool, scheduled_before=at(0)) == []
        (after,) = api.rows(pool, scheduled_before=at(61))
        assert after["flow_run"]["state_id"] == given_back.state["id"] != before["flow_run"]["state_id"]
        scheduled = given_back.state["state_details"]["scheduled_time"]
        assert when(after["flow_run"]["next_scheduled_start_time"]) == when(scheduled)
        assert after["flow_run"]["expected_start_time"] == before["flow_run"]["expected_start_time"]

    def test_nothing_of_a_paused_pool(self, api, pool, deployment):
        run = api.run(deployment)
        api.patch(f"/work_pools/{pool}", {"is_paused": True})
        assert api.due(pool) == []
        assert api.get(f"/work_pools/{pool}")["status"] == "PAUSED"
        api.patch(f"/work_pools/{pool}", {"is_paused": False})
        assert api.due(pool) == [run]

    def test_pending_and_running_runs_take_the_pools_slots(self, api, pool, deployment):
        first, second, third = (api.run(deployment, due_in=due) for due in (-3, -2, -1))
        api.patch(f"/work_pools/{pool}", {"concurrency_limit": 2})
        assert api.due(pool) == [first, second]
        api.take(first, ("PENDING", None))
        assert api.due(pool) == [second]
        api.take(second, ("PENDING", None), ("RUNNING", None))
        assert api.due(pool) == []
        api.take(second, ("COMPLETED", None))
        assert api.due(pool) == [third]


class TestQueues:
    @pytest.fixture
    def queues(self, api, pool):
        """A run in each of three queues; priority 1 is the highest."""
        self.create(api, pool, "high", priority=1)
        self.create(api, pool, "low", priority=9)
        runs = {}
        for name, due in (("low", -30), ("default", -20), ("high", -10)):
            runs[name] = api.run(api.deployment(pool, work_queue_name=name), due_in=due)
        return runs

    def create(self, api, pool, name, **spec):
        return api.post(f"/work_pools/{pool}/queues", {"name": name, **spec})

    def test_priority_comes_before_time(self, api, pool, queues):
        assert api.due(pool) == [queues["high"], queues["default"], queues["low"]]
        assert api.due(pool, limit=1) == [queues["high"]]

    def test_named_queues_only(self, api, pool, queues):
        assert api.due(pool, work_queue_names=["low"]) == [queues["low"]]
        assert api.due(pool, work_queue_names=["low", "high"]) == [queues["high"], queues["low"]]
        assert len(api.due(pool, work_queue_names=[])) == 3

    def test_an_unknown_queue_is_an_error(self, api, pool, queues):
        body = {"work_queue_names": ["low", "nope"]}
        status, answer = api.ask("POST", f"/work_pools/{pool}/get_scheduled_flow_runs", body)
        assert (status, answer) == (404, {"detail": f"Work pool queue '{pool}/nope' not found."})

    def test_a_paused_queue_keeps_its_runs(self, api, pool, queues):
        api.patch(f"/work_pools/{pool}/queues/high", {"is_paused": True})
        assert api.due(pool) == [queues["default"], queues["low"]]

    def test_a_queue_has_slots_too(self, api, pool):
        self.create(api, pool, "narrow", concurrency_limit=1)
        deployment = api.deployment(pool, work_queue_name="narrow")
        first, second = (api.run(deployment, due_in=due) for due in (-2, -1))
        assert api.due(pool) == [first]
        api.take(first, ("PENDING", None))
        assert api.due(pool) == []
        api.take(first, ("CRASHED", None))
        assert api.due(pool) == [second]

    def test_the_rows_tell_the_queue(self, api, pool, queues):
        ids = {queue["id"]: queue["name"] for queue in api.post(f"/work_pools/{pool}/queues/filter", {})}
        assert [ids[row["work_queue_id"]] for row in api.rows(pool)] == ["high", "default", "low"]
