"""A client of the REST API of Prefect 2 and 3, as plain as can be: method, path, JSON."""

import json
import time
import urllib.error
import urllib.request

# A server on SQLite answers 503 while another of its requests, or one of its own services, writes.
BUSY_ATTEMPTS = 40
BUSY_SECONDS = 0.1


class Rest:
    """Asks the API at `url`, e.g. `http://127.0.0.1:4200/api`."""

    def __init__(self, url, headers=None):
        self.url = url
        self.headers = {"Content-Type": "application/json", **(headers or {})}

    def ask(self, method, path, body=None, headers=None):
        """Status and answer; a busy server is asked again."""
        for _ in range(BUSY_ATTEMPTS):
            status, answer = self._once(method, path, body, headers or {})
            if status != 503:
                break
            time.sleep(BUSY_SECONDS)
        return status, answer

    def get(self, path):
        """The answer, which must be a success."""
        return self._must("GET", path)

    def post(self, path, body):
        """The answer, which must be a success."""
        return self._must("POST", path, body)

    def patch(self, path, body):
        """The answer, which must be a success."""
        return self._must("PATCH", path, body)

    def _must(self, method, path, body=None):
        status, answer = self.ask(method, path, body)
        assert status < 300, f"{method} {path}: {status} {answer}"
        return answer

    def _once(self, method, path, body, headers):
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.url + path, data, {**self.headers, **headers}, method=method)
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                return answer.status, _read(answer)
        except urllib.error.HTTPError as error:
            with error:
                return error.code, _read(error)


def _read(answer):
    text = answer.read().decode()
    try:
        return json.loads(text) if text else None
    except ValueError:
        return text
