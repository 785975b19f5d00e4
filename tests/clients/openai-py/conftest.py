"""The unmodified `openai` package against a gateway and against `atoma connect`.

`cargo xtask test python` starts both, in front of nodes with real models and with `engine_for_clients`, and says in
the environment where they are.
"""

import json
import os
import time
import urllib.request
from dataclasses import dataclass

import openai
import pytest

GATEWAY = os.environ["ATOMA_GATEWAY_URL"]
GATEWAY_KEY = os.environ["ATOMA_GATEWAY_KEY"]
CONNECT = os.environ["ATOMA_CONNECT_URL"]
# Where the wallet is empty.
POOR = os.environ["ATOMA_POOR_URL"]
NODES = json.loads(os.environ["ATOMA_NODES"])

# What the nodes sell: a real model, real embeddings, and what `engine_for_clients` does.
MODEL, MINILM, PARROT, HERMIT, SORTER, PAINTER = (
    "smollm2-135m-instruct", "all-minilm-l6-v2", "parrot", "hermit", "sorter", "painter",
)


def client_of(url, key, **options):
    return openai.OpenAI(**({"base_url": url, "api_key": key, "max_retries": 0, "timeout": 120} | options))


@dataclass
class Way:
    """A way to the nodes."""

    name: str
    client: openai.OpenAI


@pytest.fixture(scope="session", params=["gateway", "connect"])
def way(request):
    if request.param == "gateway":
        return Way("gateway", client_of(GATEWAY, GATEWAY_KEY))
    return Way("connect", client_of(CONNECT, "any"))


@pytest.fixture(scope="session")
def client(way):
    return way.client


def get(url, key=None):
    request = urllib.request.Request(url, headers={"authorization": f"Bearer {key}"} if key else {})
    with urllib.request.urlopen(request, timeout=60) as response:
        return json.load(response)


def post(url, body, key=None):
    headers = {"content-type": "application/json"} | ({"authorization": f"Bearer {key}"} if key else {})
    request = urllib.request.Request(url, json.dumps(body).encode(), headers)
    with urllib.request.urlopen(request, timeout=60) as response:
        return json.load(response)


def eventually(what, so):
    """What `so` gives once it is something, within two minutes."""
    for _ in range(1200):
        found = so()
        if found:
            return found
        time.sleep(0.1)
    raise AssertionError(f"never: {what}")


def channel(headers):
    """The node's books of the channel that paid an answer with these headers."""
    node = next(url for url in NODES if str(get(f"{url}/v1/node")["node"]) == headers["x-atoma-node"])
    return get(f"{node}/v1/channels?stack={headers['x-atoma-stack']}")


def settled_channel(headers):
    """The same once nothing is in flight and all is acknowledged."""

    def settled():
        books = channel(headers)
        is_quiet = books["in_flight"] == 0 and books["count"] == books["acknowledged_count"]
        return books if is_quiet else None

    return eventually("acknowledged", settled)
