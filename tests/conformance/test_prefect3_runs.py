"""What is read and written around a launch: the real server and the fake."""

import uuid
from datetime import datetime, timezone

import pytest

PID = "arn:aws:ecs:us-east-1:123456789012:cluster/default::arn:aws:ecs:us-east-1:123456789012:task/default/abc"
INVALID_LIMIT = (422, {"detail": "Invalid limit: must be less than or equal to 200."})


@pytest.fixture
def pool(api):
    return api.pool()


@pytest.fixture
def deployment(api, pool):
    return api.deployment(pool)


@pytest.fixture
def run(api, deployment):
    return api.run(deployment)


def strangers(count):
    return [str(uuid.uuid4()) for _ in range(count)]


class TestFindingRuns:
    def test_by_several_state_types_in_one_pool(self, api, pool, deployment):
        pending, cancelling, running, _ = (api.run(deployment) for _ in range(4))
        elsewhere = api.run(api.deployment(api.pool()))
        claim = str(uuid.uuid4())
        api.take(pending, ("PENDING", None, {"transition_id": claim}))
        api.take(cancelling, ("PENDING", None), ("CANCELLING", None))
        api.take(running, ("RUNNING", None))
        api.take(elsewhere, ("PENDING", None))
        rows = {row["id"]: row for row in api.find(pool, "PENDING", "CANCELLING")}
        assert set(rows) == {pending, cancelling}
        row = rows[pending]
        assert (row["state_type"], row["state_name"], row["work_pool_name"]) == ("PENDING", "Pending", pool)
        assert row["state"]["id"] == row["state_id"]
        assert row["state"]["state_details"]["transition_id"] == claim
        assert (row["infrastructure_pid"], row["start_time"], row["run_count"]) == (None, None, 0)
        assert row["work_queue_name"] == "default"
        assert rows[cancelling]["state"]["state_details"]["transition_id"] is None
        assert [row["id"] for row in api.find(pool, "RUNNING")] == [running]

    def test_by_id(self, api, run):
        found = api.post("/flow_runs/filter", {"flow_runs": {"id": {"any_": [run, *strangers(199)]}}, "limit": 200})
        assert [row["id"] for row in found] == [run]

    def test_page_by_page(self, api, pool, deployment):
        runs = {api.run(deployment) for _ in range(3)}
        where = {"work_pools": {"name": {"any_": [pool]}}, "limit": 2}
        first, second = (api.post("/flow_runs/filter", {**where, "offset": offset}) for offset in (0, 2))
        assert (len(first), len(second)) == (2, 1)
        assert {row["id"] for row in first + second} == runs

    def in_pool(self, pool, flow_runs, sort):
        where = {"flow_runs": flow_runs, "work_pools": {"name": {"any_": [pool]}}}
        return {**where, "sort": sort, "limit": 200, "offset": 0}

    def test_the_oldest_first(self, api, pool, deployment):
        third, first, second = (api.run(deployment, due_in=due) for due in (-1, -30, -10))
        for run in (third, first, second):
            api.take(run, ("PENDING", None))
        query = self.in_pool(pool, {"state": {"type": {"any_": ["PENDING"]}}}, "EXPECTED_START_TIME_ASC")
        assert [row["id"] for row in api.post("/flow_runs/filter", query)] == [first, second, third]

    def test_what_was_cancelled_lately_the_latest_first(self, api, pool, deployment):
        early, scheduled, claimed, forced = (api.run(deployment) for _ in range(4))
        api.take(early, ("CANCELLED", None))
        since = api.read(early)["end_time"]
        assert api.propose(scheduled, "CANCELLING").state["type"] == "CANCELLED"
        api.take(claimed, ("PENDING", None), ("CANCELLING", None), ("CANCELLED", None))
        api.take(forced, ("PENDING", None), ("CANCELLING", None))
        api.propose(forced, "CANCELLED", force=True)
        ended = {"state": {"type": {"any_": ["CANCELLED"]}}, "end_time": {"after_": since}}
        rows = api.post("/flow_runs/filter", self.in_pool(pool, ended, "END_TIME_DESC"))
        # The bound itself is within.
        assert [row["id"] for row in rows] == [forced, claimed, scheduled, early]

    def test_an_unknown_pool_has_none(self, api):
        assert api.find("no-such-pool", "PENDING") == []

    @pytest.mark.parametrize(
        "wrong", [{"flow_runs": {"state": {"type": {"any_": ["LOST"]}}}}, {"flow_runs": {"colour": {"any_": ["red"]}}}]
    )
    def test_a_wrong_filter_is_refused(self, api, wrong):
        status, answer = api.ask("POST", "/flow_runs/filter", wrong)
        assert (status, answer["exception_message"]) == (422, "Invalid request received.")

    def test_no_more_than_200(self, api):
        assert api.ask("POST", "/flow_runs/filter", {"limit": 201}) == INVALID_LIMIT


@pytest.mark.parametrize("kind", ["deployments", "flows"])
class TestReadingManyAtOnce:
    def wanted(self, api, kind, run):
        return api.read(run)["deployment_id" if kind == "deployments" else "flow_id"]

    def test_200_ids_in_one_request(self, api, kind, run):
        wanted = self.wanted(api, kind, run)
        (row,) = api.post(f"/{kind}/filter", {kind: {"id": {"any_": [*strangers(199), wanted]}}, "limit": 200})
        assert row["id"] == wanted
        assert row == api.get(f"/{kind}/{wanted}")

    def test_repetitions_are_told_once(self, api, kind, run):
        wanted = self.wanted(api, kind, run)
        assert len(api.post(f"/{kind}/filter", {kind: {"id": {"any_": [wanted] * 3}}})) == 1

    def test_limits(self, api, kind, run):
        assert api.ask("POST", f"/{kind}/filter", {kind: {"id": {"any_": []}}, "limit": 201}) == INVALID_LIMIT
        (stranger,) = strangers(1)
        assert api.ask("GET", f"/{kind}/{stranger}")[0] == 404


def test_a_deployment_has_what_rendering_needs(api, pool):
    given = {"job_variables": {"cpu": 512, "env": {"A": "1"}}, "tags": ["nightly"], "parameters": {"n": 1}}
    row = api.get(f"/deployments/{api.deployment(pool, entrypoint='flows.py:etl', **given)}")
    assert {key: row[key] for key in given} == given
    assert (row["work_pool_name"], row["work_queue_name"], row["entrypoint"]) == (pool, "default", "flows.py:etl")
    assert (row["paused"], row["concurrency_limit"], row["global_concurrency_limit"]) == (False, None, None)
    assert datetime.fromisoformat(row["updated"].replace("Z", "+00:00")).tzinfo == timezone.utc


class TestWritesAfterALaunch:
    def test_the_pid_is_kept_and_can_be_taken_back(self, api, run):
        assert api.ask("PATCH", f"/flow_runs/{run}", {"infrastructure_pid": PID}) == (204, None)
        assert api.read(run)["infrastructure_pid"] == PID
        assert api.ask("PATCH", f"/flow_runs/{run}", {"infrastructure_pid": None}) == (204, None)
        assert api.read(run)["infrastructure_pid"] is None

    def test_a_run_with_a_pid_is_not_cancelled_by_the_server(self, api, pool, run):
        api.patch(f"/flow_runs/{run}", {"infrastructure_pid": PID})
        verdict = api.propose(run, "CANCELLING")
        assert (verdict.status, verdict.state["type"]) == ("ACCEPT", "CANCELLING")
        (row,) = api.find(pool, "CANCELLING")
        assert row["infrastructure_pid"] == PID

    def test_labels_are_merged(self, api, run):
        before = api.read(run)["labels"]
        assert api.ask("PATCH", f"/flow_runs/{run}/labels", {"prefect.worker.name": "etl"}) == (204, None)
        api.patch(f"/flow_runs/{run}/labels", {"prefect.worker.type": "ecs"})
        labels = api.read(run)["labels"]
        assert labels == {**before, "prefect.worker.name": "etl", "prefect.worker.type": "ecs"}

    def test_log_lines_are_kept(self, api, run):
        line = {
            "name": "prefect.flow_runs.worker",
            "level": 20,
            "message": "Worker 'etl' submitting flow run",
            "timestamp": datetime.now(timezone.utc).isoformat(),
            "flow_run_id": run,
        }
        assert api.ask("POST", "/logs/", [line, {**line, "level": 40, "message": "refused"}]) == (201, None)
        kept = api.post("/logs/filter", {"logs": {"flow_run_id": {"any_": [run]}}})
        assert sorted((log["level"], log["message"]) for log in kept) == [(20, line["message"]), (40, "refused")]
        assert {log["name"] for log in kept} == {line["name"]}

    def test_a_log_line_needs_its_fields(self, api):
        assert api.ask("POST", "/logs/", [{"message": "?"}])[0] == 422

    def event(self, api, pool, run, **more):
        def related(role, at, name):
            return {"prefect.resource.id": f"prefect.{role}.{at}", "prefect.resource.role": role, **name}

        row = api.read(run)
        return {
            "occurred": datetime.now(timezone.utc).isoformat(),
            "event": "prefect.worker.submitted-flow-run",
            "resource": {
                "prefect.resource.id": "prefect.worker.ecs.etl",
                "prefect.resource.name": "etl",
                "prefect.version": "3.8.8",
                "prefect.worker-type": "ecs",
            },
            "related": [
                related("flow-run", run, {"prefect.resource.name": row["name"]}),
                related("tag", "red", {}),
                related("work-pool", row["work_pool_id"], {"prefect.resource.name": pool}),
            ],
            "payload": {},
            "id": str(uuid.uuid4()),
            "follows": None,
            **more,
        }

    def test_events_are_taken(self, api, pool, run):
        first = self.event(api, pool, run)
        second = self.event(api, pool, run, event="prefect.worker.executed-flow-run", follows=first["id"])
        assert api.ask("POST", "/events", [first, second]) == (204, None)
        assert api.ask("POST", "/events", [first]) == (204, None), "a repetition"
        assert api.ask("POST", "/events", []) == (204, None)

    @pytest.mark.parametrize("missing", ["id", "occurred", "event", "resource"])
    def test_an_event_needs_its_fields(self, api, pool, run, missing):
        event = self.event(api, pool, run)
        del event[missing]
        status, answer = api.ask("POST", "/events", [event])
        assert (status, answer["exception_message"]) == (422, "Invalid request received.")


class TestWhatIsGone:
    @pytest.fixture
    def gone(self, api, run):
        assert api.ask("DELETE", f"/flow_runs/{run}") == (204, None)
        return run

    def test_a_deleted_run(self, api, gone):
        not_found = (404, {"detail": "Flow run not found"})
        with_its_id = (404, {"exception_message": f"Flow run with id {gone} not found"})
        assert api.ask("GET", f"/flow_runs/{gone}") == not_found
        assert api.ask("PATCH", f"/flow_runs/{gone}", {"infrastructure_pid": PID}) == not_found
        assert api.ask("PATCH", f"/flow_runs/{gone}/labels", {"a": "b"}) == with_its_id
        proposal = {"state": {"type": "PENDING", "name": "Pending"}, "force": False}
        assert api.ask("POST", f"/flow_runs/{gone}/set_state", proposal) == with_its_id
        assert api.history(gone) == []

    def test_what_is_no_id_is_no_path(self, api):
        assert api.ask("GET", "/flow_runs/nonsense") == (404, {"detail": "Not Found"})

    def test_a_wrong_state_type_is_refused(self, api, run):
        status, answer = api.ask("POST", f"/flow_runs/{run}/set_state", {"state": {"type": "LOST"}})
        assert (status, answer["exception_message"]) == (422, "Invalid request received.")

    def test_what_a_deleted_deployment_leaves_behind(self, api, pool, deployment, run):
        claimed = api.run(deployment)
        api.take(claimed, ("PENDING", None))
        assert api.ask("DELETE", f"/deployments/{deployment}") == (204, None)
        assert api.ask("GET", f"/deployments/{deployment}") == (404, {"detail": "Deployment not found"})
        assert api.ask("GET", f"/flow_runs/{run}")[0] == 404, "scheduled runs go with it"
        assert api.read(claimed)["deployment_id"] == deployment
        api.take(claimed, ("SCHEDULED", "AwaitingRetry"))
        assert api.due(pool) == [claimed]
        verdict = api.propose(claimed, "PENDING")
        assert (verdict.http, verdict.status, verdict.reason) == (200, "ABORT", "Deployment not found.")


class TestTemplateReferences:
    def test_variables(self, api):
        name = f"v_{uuid.uuid4().hex[:8]}"
        api.post("/variables/", {"name": name, "value": {"a": [1, None]}})
        assert api.get(f"/variables/name/{name}")["value"] == {"a": [1, None]}
        assert api.ask("GET", f"/variables/name/{name}x") == (404, {"detail": "Variable not found."})

    def test_block_documents_tell_their_secrets_when_asked(self, api):
        slug = f"creds-{uuid.uuid4().hex[:8]}"
        kind = api.post("/block_types/", {"name": slug, "slug": slug})["id"]
        fields = {"type": "object", "title": slug, "properties": {"key": {"type": "string", "format": "password"}}}
        fields = {**fields, "secret_fields": ["key"], "block_type_slug": slug}
        schema = api.post("/block_schemas/", {"block_type_id": kind, "fields": fields})["id"]
        data = {"key": "hush", "region_name": "eu-west-1"}
        document = {"name": "prod", "block_type_id": kind, "block_schema_id": schema, "data": data}
        document = api.post("/block_documents/", document)["id"]

        by_name = f"/block_types/slug/{slug}/block_documents/name/prod"
        assert api.get(f"{by_name}?include_secrets=true")["data"] == data
        assert api.get(f"/block_documents/{document}?include_secrets=true")["data"] == data
        assert api.get(by_name)["data"] == {**data, "key": "********"}

    def test_missing_block_documents(self, api):
        missing = (404, {"detail": "Block document not found"})
        assert api.ask("GET", "/block_types/slug/secret/block_documents/name/nope?include_secrets=true") == missing
        (stranger,) = strangers(1)
        assert api.ask("GET", f"/block_documents/{stranger}?include_secrets=true") == missing
