"""A client of Gatelet in Python, without other packages.

    python3 client.py http://127.0.0.1:5000

It registers a user, logs in, refreshes, reads its own account and logs out.
"""

import json
import secrets
import sys
from urllib.error import HTTPError
from urllib.request import Request, urlopen


class Refused(Exception):
    """An answer other than 2xx."""

    def __init__(self, status: int, answer: dict, retry_after: str | None):
        super().__init__(f"{status} {answer}")
        self.status, self.answer = status, answer
        self.retry_after = retry_after  # seconds to wait, on 429 and 503


class Gatelet:
    """One session with a server. Keeps its tokens in memory."""

    def __init__(self, address: str):
        self.address = address.rstrip("/")
        self.access = self.refresh_token = None

    def register(self, username: str, password: str):
        self._send("POST", "/register", body={"username": username, "password": password})

    def log_in(self, username: str, password: str):
        self._keep(self._send("POST", "/login", body={"username": username, "password": password}))

    def refresh(self):
        self._keep(self._send("POST", "/refresh", self.refresh_token))

    def log_out(self):
        self._send("POST", "/logout", self.refresh_token)

    def ask(self, method: str, path: str, body: dict | None = None) -> dict:
        """A request with the access token, repeated once with a new one if it has expired."""
        try:
            return self._send(method, path, self.access, body)
        except Refused as refused:
            if refused.answer.get("error") != "token_expired":
                raise
        self.refresh()
        return self._send(method, path, self.access, body)

    def _keep(self, answer: dict):
        self.access = answer["access_token"]
        self.refresh_token = answer.get("refresh_token", self.refresh_token)  # a refresh may replace it

    def _send(self, method: str, path: str, token: str | None = None, body: dict | None = None) -> dict:
        headers = {"Content-Type": "application/json"}
        if token:
            headers["Authorization"] = f"Bearer {token}"
        data = None if body is None else json.dumps(body).encode()
        try:
            with urlopen(Request(self.address + path, data, headers, method=method), timeout=20) as answer:
                return json.load(answer)
        except HTTPError as error:
            with error:
                raise Refused(error.code, json.load(error), error.headers.get("Retry-After")) from None


if __name__ == "__main__":
    username, password = f"example-{secrets.token_hex(4)}", secrets.token_urlsafe(16)
    client = Gatelet(sys.argv[1])
    client.register(username, password)
    client.log_in(username, password)
    print("fresh after the login:", client.ask("GET", "/session")["session"]["fresh"])
    client.refresh()
    print("fresh after the refresh:", client.ask("GET", "/session")["session"]["fresh"])
    print("own name:", client.ask("GET", "/user/me")["username"] == username)
    client.log_out()
    try:
        client.ask("GET", "/user/me")
    except Refused as refused:
        print("after the logout:", refused.status, refused.answer["error"])
