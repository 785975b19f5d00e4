"""A real model: SmolLM2 in the nodes' own processes."""

from concurrent.futures import ThreadPoolExecutor

from conftest import MODEL

QUESTION = [{"role": "user", "content": "What is the capital of France? Answer in one short sentence."}]


def ask(client, **options):
    arguments = {"model": MODEL, "messages": QUESTION, "max_tokens": 24, "temperature": 0, "seed": 1}
    return client.chat.completions.create(**(arguments | options))


def test_an_answer_is_coherent_and_counted(client):
    completion = ask(client)
    choice = completion.choices[0]
    assert "Paris" in choice.message.content
    assert choice.message.role == "assistant"
    assert choice.finish_reason in ("stop", "length")
    usage = completion.usage
    assert usage.prompt_tokens > 0 and 0 < usage.completion_tokens <= 24
    assert usage.total_tokens == usage.prompt_tokens + usage.completion_tokens


def test_a_stream_gives_the_same_answer_piece_by_piece(client):
    whole = ask(client)
    chunks = list(ask(client, stream=True, stream_options={"include_usage": True}))
    pieces = [chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices]
    assert "".join(pieces) == whole.choices[0].message.content
    assert sum(1 for piece in pieces if piece) > 3
    assert chunks[-1].usage.completion_tokens == whole.usage.completion_tokens
    assert len({chunk.id for chunk in chunks}) == 1


def test_the_seed_decides(client):
    def sample(seed):
        return ask(client, temperature=1.0, seed=seed, max_tokens=16).choices[0].message.content

    assert sample(7) == sample(7)
    assert len({sample(seed) for seed in range(4)}) > 1


def test_stop_and_length(client):
    stopped = ask(client, stop=["Paris"])
    assert "Paris" not in stopped.choices[0].message.content
    assert stopped.choices[0].finish_reason == "stop"
    short = ask(client, max_tokens=2)
    assert short.choices[0].finish_reason == "length"
    assert short.usage.completion_tokens == 2


def test_logprobs(client):
    completion = ask(client, logprobs=True, top_logprobs=3, max_tokens=3)
    for token in completion.choices[0].logprobs.content:
        assert token.logprob <= 0 and len(token.top_logprobs) == 3


def test_the_receipt_travels_with_the_answer(client):
    response = client.chat.completions.with_raw_response.create(
        model=MODEL, messages=QUESTION, max_tokens=4, temperature=0, seed=1
    )
    assert response.headers["x-atoma-receipt"]


def test_many_at_once(client):
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: ask(client, max_tokens=8).choices[0].message.content, range(8)))
    assert len(set(answers)) == 1


def test_a_closed_stream_leaves_the_service_well(client):
    stream = ask(client, stream=True, max_tokens=200)
    next(iter(stream))
    stream.close()
    assert "Paris" in ask(client).choices[0].message.content
