"""What the protocol lets one ask, of an engine that does all of it."""

import base64
import json
import math
import struct
import zlib
from typing import List

import pytest
from conftest import MINILM, MODEL, PAINTER, PARROT, SORTER, HERMIT
from pydantic import BaseModel

WEATHER = {
    "name": "weather",
    "description": "The weather at a place.",
    "parameters": {
        "type": "object",
        "properties": {"place": {"type": "string"}, "days": {"type": "integer", "minimum": 3}},
        "required": ["place", "days"],
        "additionalProperties": False,
    },
}
TOOL = {"type": "function", "function": WEATHER}


def say(text):
    return [{"role": "user", "content": text}]


def chat(client, text="hello there", **options):
    return client.chat.completions.create(**({"model": PARROT, "messages": say(text)} | options))


def png(width, height):
    """A black image."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    pixels = zlib.compress((b"\0" * (width + 1)) * height)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


def test_models_are_listed(client):
    listed = {model.id for model in client.models.list()}
    assert {MODEL, MINILM, PARROT, HERMIT, SORTER, PAINTER} <= listed


def test_an_answer_is_counted(client):
    completion = chat(client)
    assert completion.choices[0].message.content == "You said: hello there"
    usage = completion.usage
    assert (usage.prompt_tokens, usage.completion_tokens, usage.total_tokens) == (2, 4, 6)


def test_a_stream_tells_its_usage_if_asked(client):
    chunks = list(chat(client, stream=True, stream_options={"include_usage": True}))
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices) == "You said: hello there"
    assert chunks[-1].choices == [] and chunks[-1].usage.total_tokens == 6
    assert all(chunk.usage is None for chunk in chunks[:-1])
    assert not any(chunk.usage for chunk in chat(client, stream=True))


def test_limits_and_stops(client):
    short = chat(client, "Count to 50", max_tokens=3).choices[0]
    assert (short.message.content, short.finish_reason) == ("1 2 3 ", "length")
    newer = chat(client, "Count to 50", max_completion_tokens=2).choices[0]
    assert (newer.message.content, newer.finish_reason) == ("1 2 ", "length")
    stopped = chat(client, "Count to 50", stop=["5", "4 "]).choices[0]
    assert (stopped.message.content, stopped.finish_reason) == ("1 2 3 ", "stop")


def test_several_choices(client):
    completion = chat(client, n=3)
    assert [choice.index for choice in completion.choices] == [0, 1, 2]
    assert len({choice.message.content for choice in completion.choices}) == 3
    texts = ["", "", ""]
    for chunk in chat(client, n=3, stream=True):
        for choice in chunk.choices:
            texts[choice.index] += choice.delta.content or ""
    assert texts == [choice.message.content for choice in completion.choices]


def test_log_probabilities(client):
    content = chat(client, logprobs=True, top_logprobs=2).choices[0].logprobs.content
    assert "".join(token.token for token in content) == "You said: hello there"
    assert all(len(token.top_logprobs) == 2 and token.logprob == token.top_logprobs[0].logprob for token in content)
    streamed = [
        token.token
        for chunk in chat(client, logprobs=True, top_logprobs=1, stream=True)
        for choice in chunk.choices
        for token in (choice.logprobs.content if choice.logprobs else [])
    ]
    assert streamed == [token.token for token in content]


def test_a_tool_is_called_and_its_result_heard(client):
    text = "Oslo"
    completion = chat(client, text, tools=[TOOL], tool_choice="required")
    message = completion.choices[0].message
    assert completion.choices[0].finish_reason == "tool_calls"
    [call] = message.tool_calls
    assert call.function.name == "weather"
    assert json.loads(call.function.arguments) == {"place": "Oslo", "days": 3}
    result = {"role": "tool", "tool_call_id": call.id, "content": "rain"}
    after = chat(client, messages=[*say(text), message, result], tools=[TOOL])
    assert after.choices[0].message.content == "The tool says: rain"
    named = {"type": "function", "function": {"name": "weather"}}
    assert chat(client, tools=[TOOL], tool_choice=named).choices[0].message.tool_calls
    assert not chat(client, "weather", tools=[TOOL], tool_choice="none").choices[0].message.tool_calls
    assert not chat(client, "weather").choices[0].message.tool_calls


def test_a_streamed_tool_call(client):
    name, arguments, finish = "", "", None
    for chunk in chat(client, "the weather, please", tools=[TOOL], stream=True):
        choice = chunk.choices[0]
        finish = choice.finish_reason or finish
        for call in choice.delta.tool_calls or []:
            name += call.function.name or ""
            arguments += call.function.arguments or ""
    assert (name, finish) == ("weather", "tool_calls")
    assert json.loads(arguments)["place"] == "the weather, please"


class Step(BaseModel):
    what: str
    is_last: bool


class Plan(BaseModel):
    title: str
    steps: List[Step]
    cost: float


def test_json_that_fits_a_schema(client):
    asked = {"model": PARROT, "messages": say("move house"), "response_format": Plan}
    plan = client.chat.completions.parse(**asked).choices[0].message.parsed
    assert plan.title == "move house" and plan.steps[0].is_last
    with client.chat.completions.stream(**asked) as stream:
        assert stream.get_final_completion().choices[0].message.parsed == plan
    loose = chat(client, response_format={"type": "json_object"}).choices[0].message.content
    assert json.loads(loose) == {"reply": "You said: hello there"}


def test_images_in_messages(client):
    url = "data:image/png;base64," + base64.b64encode(png(30, 20)).decode()
    parts = [{"type": "text", "text": "What is it?"}, {"type": "image_url", "image_url": {"url": url}}]
    completion = chat(client, messages=[{"role": "user", "content": parts}])
    assert completion.choices[0].message.content == "You show me 30 by 20."
    assert completion.usage.prompt_tokens > 64


def test_plain_completions(client):
    whole = client.completions.create(model=PARROT, prompt="Count to 30", max_tokens=4, n=2, logprobs=1)
    assert [choice.text for choice in whole.choices] == ["1 2 3 4 ", "1 2 3 4 "]
    assert whole.choices[0].finish_reason == "length" and whole.usage.completion_tokens == 8
    assert whole.choices[0].logprobs.tokens == ["1 ", "2 ", "3 ", "4 "]
    assert whole.choices[0].logprobs.text_offset == [0, 2, 4, 6]
    options = {"stream": True, "stream_options": {"include_usage": True}}
    chunks = list(client.completions.create(model=PARROT, prompt="hi", **options))
    assert "".join(chunk.choices[0].text for chunk in chunks if chunk.choices) == "You said: hi"
    assert chunks[-1].usage.completion_tokens == 3


def norm(vector):
    return math.sqrt(sum(number * number for number in vector))


def test_embeddings_keep_their_order(client):
    texts = ["apples", "pears", "apples"]
    created = client.embeddings.create(model=SORTER, input=texts)
    assert [one.index for one in created.data] == [0, 1, 2] and created.usage.prompt_tokens == 3
    first, second, third = (one.embedding for one in created.data)
    assert first == third != second and len(first) == 64 and abs(norm(first) - 1) < 1e-5
    floats = client.embeddings.create(model=SORTER, input="apples", encoding_format="float", dimensions=16)
    assert len(floats.data[0].embedding) == 16


def test_real_embeddings_know_what_is_alike(client):
    texts = ["A cat sits on the mat.", "A kitten rests on a rug.", "Interest rates rose again."]
    cat, kitten, rates = (one.embedding for one in client.embeddings.create(model=MINILM, input=texts).data)
    assert len(cat) == 384

    def alike(one, other):
        return sum(a * b for a, b in zip(one, other))

    assert alike(cat, kitten) > 0.5 > alike(cat, rates)


def test_images_are_drawn(client):
    drawn = client.images.generate(model=PAINTER, prompt="stripes", n=2, size="64x32", response_format="b64_json")
    images = [base64.b64decode(image.b64_json) for image in drawn.data]
    assert len(images) == 2
    for image in images:
        assert struct.unpack(">II", image[16:24]) == (64, 32)
        length = struct.unpack(">I", image[33:37])[0]
        assert len(zlib.decompress(image[41 : 41 + length])) == (64 // 8 + 1) * 32


def test_responses(client):
    response = client.responses.create(model=PARROT, input="hello", instructions="Be brief.")
    assert (response.status, response.output_text) == ("completed", "You said: hello")
    assert response.usage.total_tokens == response.usage.input_tokens + response.usage.output_tokens
    cut = client.responses.create(model=PARROT, input="Count to 90", max_output_tokens=2)
    assert (cut.status, cut.output_text) == ("incomplete", "1 2 ")
    assert cut.incomplete_details.reason == "max_output_tokens"
    tool = {"type": "function", "strict": True, **WEATHER}
    [call] = client.responses.create(model=PARROT, input="Rome", tools=[tool], tool_choice="required").output
    assert call.name == "weather" and json.loads(call.arguments) == {"place": "Rome", "days": 3}
    plan = client.responses.parse(model=PARROT, input="move house", text_format=Plan).output_parsed
    assert plan.title == "move house"


def test_streamed_responses(client):
    events = list(client.responses.create(model=PARROT, input="hello", stream=True))
    assert [event.sequence_number for event in events] == list(range(len(events)))
    deltas = [event.delta for event in events if event.type == "response.output_text.delta"]
    assert "".join(deltas) == "You said: hello" and len(deltas) > 1
    assert events[0].type == "response.created" and events[-1].type == "response.completed"
    assert events[-1].response.usage.output_tokens == len(deltas)
    with client.responses.stream(model=PARROT, input="move house", text_format=Plan) as stream:
        assert stream.get_final_response().output_parsed.title == "move house"


@pytest.mark.parametrize("stream", [False, True])
def test_raw_answers_name_node_and_stack(client, stream):
    raw = client.chat.completions.with_raw_response.create(model=PARROT, messages=say("hi"), stream=stream)
    assert raw.headers["x-atoma-node"] and raw.headers["x-atoma-stack"].startswith("0x")
    assert stream or raw.headers["x-atoma-receipt"]
    if stream:
        list(raw.parse())
