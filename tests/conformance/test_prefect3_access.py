"""Who may ask and how: the real server and the fake, open and guarded."""

import base64
import uuid

import pytest
from orders import AUTH_STRING

UNAUTHORIZED = (401, {"exception_message": "Unauthorized"})
OPEN = ("/health", "/ready")


def basic(text):
    return {"Authorization": "Basic " + base64.b64encode(text.encode()).decode()}


def token_for(guarded, client):
    return guarded.get(f"/csrf-token?client={client}")["token"]


def csrf(token, client):
    return {"Prefect-Csrf-Token": token, "Prefect-Csrf-Client": client}


class TestAnOpenServer:
    def test_says_how_it_is(self, api):
        assert api.ask("GET", "/health") == (200, True)
        assert api.ask("GET", "/ready") == (200, {"message": "OK"})
        assert api.ask("GET", "/version") == (200, "0.8.4")
        assert api.ask("GET", "/admin/version") == (200, api.version)

    def test_has_no_csrf_tokens_to_give(self, api):
        assert api.ask("GET", "/csrf-token?client=me") == (422, {"detail": "CSRF protection is disabled."})

    def test_takes_no_notice_of_credentials(self, api):
        assert api.ask("POST", "/flow_runs/filter", {"limit": 1}, basic("any:body"))[0] == 200

    def test_looks_at_the_form_of_the_api_version(self, api):
        for version in ("0.8.4", "0.8.3", "1.0.0"):
            assert api.ask("POST", "/flow_runs/filter", {"limit": 1}, {"X-PREFECT-API-VERSION": version})[0] == 200
        status, answer = api.ask("POST", "/flow_runs/filter", {}, {"X-PREFECT-API-VERSION": "0.8"})
        assert status == 400
        assert answer["detail"].startswith("Invalid X-PREFECT-API-VERSION header format.")


class TestAnAuthString:
    @pytest.mark.parametrize(
        "headers",
        [{}, basic("admin:wrong"), basic("admin"), {"Authorization": f"Bearer {AUTH_STRING}"}],
        ids=["nothing", "wrong", "half", "bearer"],
    )
    def test_without_it_nothing_but_health_is_told(self, guarded, headers):
        token = csrf(token_for(guarded, "me"), "me")
        guarded.headers.pop("Authorization")
        for path in OPEN:
            assert guarded.ask("GET", path, headers=headers)[0] == 200
        for path in ("/version", "/admin/version", "/csrf-token?client=me", "/work_pools/any"):
            assert guarded.ask("GET", path, headers=headers) == UNAUTHORIZED
        assert guarded.ask("POST", "/flow_runs/filter", {}, {**headers, **token}) == UNAUTHORIZED
        # The token is looked at first.
        assert guarded.ask("POST", "/flow_runs/filter", {}, headers) == (403, {"detail": "Missing CSRF token."})

    def test_with_it_reading_is_free(self, guarded):
        missing = (404, {"detail": 'Work pool "any" not found.'})
        assert guarded.ask("GET", "/work_pools/any") == missing


class TestCsrf:
    """Also what only looks, but by POST, needs a token."""

    PATHS = [("POST", "/flow_runs/filter"), ("PATCH", "/work_pools/any"), ("DELETE", "/work_pools/any")]

    @pytest.mark.parametrize(("method", "path"), PATHS)
    def test_no_token(self, guarded, method, path):
        assert guarded.ask(method, path, {}) == (403, {"detail": "Missing CSRF token."})

    def test_a_token_is_good_for_its_client(self, guarded):
        client = str(uuid.uuid4())
        answer = guarded.get(f"/csrf-token?client={client}")
        assert answer["client"] == client
        assert answer["expiration"]
        status, _ = guarded.ask("POST", "/flow_runs/filter", {"limit": 1}, csrf(answer["token"], client))
        assert status == 200
        wrong = (403, {"detail": "Invalid CSRF token or client identifier."})
        assert guarded.ask("POST", "/flow_runs/filter", {}, csrf(answer["token"], "somebody")) == wrong
        assert guarded.ask("POST", "/flow_runs/filter", {}, csrf("guess", client)) == wrong

    def test_a_token_without_a_client(self, guarded):
        only = {"Prefect-Csrf-Token": token_for(guarded, "me")}
        assert guarded.ask("POST", "/flow_runs/filter", {}, only) == (403, {"detail": "Missing client identifier."})

    def test_the_next_token_replaces_the_last(self, guarded):
        client = str(uuid.uuid4())
        first, second = token_for(guarded, client), token_for(guarded, client)
        assert guarded.ask("POST", "/flow_runs/filter", {}, csrf(first, client))[0] == 403
        assert guarded.ask("POST", "/flow_runs/filter", {}, csrf(second, client))[0] == 200

    def test_a_token_is_for_somebody(self, guarded):
        assert guarded.ask("GET", "/csrf-token")[0] == 422

    def test_it_opens_every_write(self, guarded):
        guarded.headers.update(csrf(token_for(guarded, "me"), "me"))
        pool = guarded.pool()
        run = guarded.run(guarded.deployment(pool))
        assert guarded.due(pool) == [run]
        guarded.take(run, ("PENDING", None))
        guarded.patch(f"/flow_runs/{run}", {"infrastructure_pid": "a::b"})
        guarded.patch(f"/flow_runs/{run}/labels", {"prefect.worker.name": "etl"})
