"""Errors are the package's own exceptions, and what is broken off is paid to the token."""

import openai
import pytest
from conftest import (
    GATEWAY, GATEWAY_KEY, HERMIT, MINILM, PAINTER, PARROT, POOR, channel, client_of, post, settled_channel,
)

HELLO = [{"role": "user", "content": "hello"}]
COUNT = [{"role": "user", "content": "Count to 20000"}]


def chat(client, **options):
    return client.chat.completions.create(**({"model": PARROT, "messages": HELLO} | options))


@pytest.mark.parametrize(
    ("param", "value"),
    [("temperature", 9), ("max_tokens", -1), ("max_tokens", "many"), ("n", 0), ("messages", []), ("stream", 1)],
)
def test_a_bad_request_names_its_member(client, param, value):
    with pytest.raises(openai.BadRequestError) as wrong:
        chat(client, **{param: value})
    error = wrong.value
    assert error.type == "invalid_request_error" and error.message
    assert error.param == param or param in error.message


def test_what_is_unknown_or_elsewhere(client):
    with pytest.raises(openai.NotFoundError) as wrong:
        chat(client, model="nobody")
    assert wrong.value.code == "model_not_found"
    for model, ask in [
        (PAINTER, lambda: chat(client, model=PAINTER)),
        (MINILM, lambda: client.completions.create(model=MINILM, prompt="hi")),
        (PARROT, lambda: client.embeddings.create(model=PARROT, input="hi")),
    ]:
        with pytest.raises(openai.NotFoundError) as wrong:
            ask()
        assert model in wrong.value.message
    with pytest.raises(openai.NotFoundError):
        client.files.list()


def test_what_is_too_long(client):
    with pytest.raises(openai.APIStatusError) as too_long:
        chat(client, messages=[{"role": "user", "content": "a" * (5 * 1024 * 1024)}])
    assert (too_long.value.status_code, too_long.value.code) == (413, "body_too_large")


def test_a_busy_engine_says_try_again(client):
    """The hermit takes one request at a time."""
    # A channel takes several at once only after some were acknowledged; else the second would wait for its place there.
    for _ in range(8):
        chat(client, model=HERMIT)
    stream = chat(client, model=HERMIT, messages=COUNT, max_tokens=20_000, stream=True)
    next(iter(stream))
    with pytest.raises(openai.RateLimitError) as busy:
        chat(client, model=HERMIT)
    assert busy.value.type == "rate_limit_error" and busy.value.response.headers["retry-after"]
    stream.close()
    # The package's own retries are enough once there is room.
    patient = client.with_options(max_retries=10)
    assert chat(patient, model=HERMIT).choices[0].message.content == "You said: hello"


def test_a_wrong_key():
    for key in ("atoma-wrong", GATEWAY_KEY[:-1]):
        with pytest.raises(openai.AuthenticationError) as wrong:
            client_of(GATEWAY, key).models.list()
        assert wrong.value.code == "invalid_api_key"
        with pytest.raises(openai.AuthenticationError):
            chat(client_of(GATEWAY, key))


def test_an_empty_wallet():
    with pytest.raises(openai.APIStatusError) as poor:
        chat(client_of(POOR, "any"))
    error = poor.value
    assert (error.status_code, error.code, error.type) == (402, "wallet_empty", "insufficient_quota")


def test_an_account_without_money_and_a_rate():
    me = {"login": "ada@example.org", "password": "correct horse battery"}
    post(f"{GATEWAY}/accounts", me)
    token = post(f"{GATEWAY}/sessions", me)["token"]
    made = post(f"{GATEWAY}/keys", {"name": "app", "limits": {"requests_per_minute": 2}}, token)
    client = client_of(GATEWAY, made["secret"])
    for _ in range(2):
        with pytest.raises(openai.RateLimitError) as empty:
            chat(client)
        assert (empty.value.code, empty.value.type) == ("insufficient_quota", "insufficient_quota")
    with pytest.raises(openai.RateLimitError) as too_many:
        chat(client)
    assert too_many.value.code == "rate_limit_exceeded"
    assert int(too_many.value.response.headers["retry-after"]) > 0


def test_what_is_broken_off_is_paid_to_the_token(way):
    asked = {"model": PARROT, "messages": COUNT, "max_tokens": 20_000, "stream": True}
    raw = way.client.chat.completions.with_raw_response.create(**asked)
    before = channel(raw.headers)
    assert before["in_flight"] == 1
    stream = raw.parse()
    seen = 0
    for chunk in stream:
        seen += bool(chunk.choices and chunk.choices[0].delta.content)
        if seen == 20:
            break
    stream.close()
    after = settled_channel(raw.headers)
    assert after["count"] == before["count"] + 1
    paid = after["total_units"] - before["total_units"]
    # A token is a unit: what was seen, and some that were on the way, of what would have been 20,000.
    assert 20 <= paid < 10_000
    assert after["acknowledged_units"] == after["total_units"]
    assert after["available"] == after["granted"] - after["total_units"]
    assert chat(way.client).choices[0].message.content == "You said: hello"
