"""The callers for Schemathesis: every request has a user of its own, so that none affects the next one by logging out,
deleting or disabling. The variable ROLE makes them users or administrators."""

import itertools
import os

import requests
import schemathesis

PASSWORD = "correct horse"
numbers = itertools.count()


def post(path: str, body: dict, token: str = "") -> dict:
    headers = {"Authorization": f"Bearer {token}"}
    reply = requests.post(os.environ["SERVER"] + path, json=body, headers=headers, timeout=10)
    reply.raise_for_status()
    return reply.json()


def log_in(username: str) -> dict:
    return post("/login", {"username": username, "password": PASSWORD})


@schemathesis.hook
def filter_case(_: schemathesis.HookContext, case: schemathesis.Case) -> bool:
    """The list of users ignores unknown parameters, as the original did, which a schema cannot express."""
    is_list = case.method == "GET" and case.operation.path == "/user"
    return not (is_list and "x-schemathesis-unknown-property" in (case.query or {}))


@schemathesis.auth(refresh_interval=None)
class OwnUser:
    def get(self, case: schemathesis.Case, _: schemathesis.AuthContext) -> str:
        username = f"user {next(numbers)}"
        body = {"username": username, "password": PASSWORD, "role": os.environ["ROLE"]}
        post("/user", body, token=log_in("root")["access_token"])
        return log_in(username)["refresh_token" if case.operation.path == "/refresh" else "access_token"]

    def set(self, case: schemathesis.Case, token: str, _: schemathesis.AuthContext) -> None:
        if not str(case.headers.get("Authorization", "")).startswith("Bearer v4."):  # keeps a token that came by a link
            case.headers["Authorization"] = f"Bearer {token}"
