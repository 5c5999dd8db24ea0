"""Checks access tokens of Gatelet with nothing but its public keys.

    python verify.py http://127.0.0.1:5000/.well-known/paseto-keys < token
"""

import json
import sys
from pathlib import Path
from urllib.request import urlopen

from pyseto import Key, KeyInterface, Paseto, Token

paseto = Paseto.new(leeway=5)  # seconds; clocks differ


def load_keys(source: str) -> dict[str, KeyInterface]:
    """The key set of a URL or a file, by the id computed from each key, not by the id given beside it."""
    text = urlopen(source, timeout=5).read() if "://" in source else Path(source).read_bytes()
    keys = [Key.from_paserk(entry["public_key"]) for entry in json.loads(text)["keys"]]
    return {key.to_paserk_id(): key for key in keys}


def verify(token: str, keys: dict[str, KeyInterface], issuer: str = "gatelet") -> dict:
    """The claims of a good access token. Any exception means: refuse the request with 401."""
    kid = json.loads(Token.new(token).footer)["kid"]  # only chooses the key; the signature covers it
    if kid not in keys:
        raise ValueError("unknown key")  # after a key rotation: load the key set again, but not at every request
    claims = paseto.decode(keys[kid], token, deserializer=json).payload  # signature, exp, nbf
    if not {"exp", "nbf"} <= claims.keys():
        raise ValueError("not limited in time")
    if claims.get("iss") != issuer:
        raise ValueError("of another issuer")
    if claims.get("typ") != "access":
        raise ValueError("not an access token")
    return claims


if __name__ == "__main__":
    try:
        print(verify(sys.stdin.read().strip(), load_keys(sys.argv[1]))["sub"])
    except Exception as error:
        sys.exit(f"refused: {error}")
