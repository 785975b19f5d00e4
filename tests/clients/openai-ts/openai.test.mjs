// The unmodified `openai` package against a gateway and against `atoma connect`. `cargo xtask test typescript` starts
// both, in front of nodes with a real model and with `engine_for_clients`, and says in ATOMA_<FIELD> where they are.
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { deflateSync, inflateSync } from 'node:zlib';
import OpenAI from 'openai';

const field = (name) => process.env[`ATOMA_${name}`] ?? assert.fail(`set ATOMA_${name}; see package.json`);
const NODES = JSON.parse(field('NODES'));
const MODEL = 'smollm2-135m-instruct', MINILM = 'all-minilm-l6-v2';
const PARROT = 'parrot', HERMIT = 'hermit', SORTER = 'sorter', PAINTER = 'painter';

const clientOf = (baseURL, apiKey) => new OpenAI({ baseURL, apiKey, maxRetries: 0, timeout: 120_000 });
const WAYS = {
  gateway: clientOf(field('GATEWAY_URL'), field('GATEWAY_KEY')),
  connect: clientOf(field('CONNECT_URL'), 'any'),
};

const say = (content) => [{ role: 'user', content }];
const ask = (client, content, more = {}) => client.chat.completions.create({ model: PARROT, messages: say(content), ...more });
const text = (completion) => completion.choices[0].message.content;
const all = async (stream) => { const chunks = []; for await (const chunk of stream) chunks.push(chunk); return chunks; };
const getJson = async (url) => (await fetch(url)).json();

/** What `so` gives once it is something, within two minutes. */
async function eventually(what, so) {
  for (let n = 0; n < 1200; n++) {
    const found = await so();
    if (found) return found;
    await new Promise((wake) => setTimeout(wake, 100));
  }
  assert.fail(`never: ${what}`);
}

/** The node's books of the channel that paid an answer. */
async function channel(response) {
  for (const url of NODES) {
    if (String((await getJson(`${url}/v1/node`)).node) === response.headers.get('x-atoma-node')) {
      return getJson(`${url}/v1/channels?stack=${response.headers.get('x-atoma-stack')}`);
    }
  }
  return assert.fail('no such node');
}

const crcOf = (bytes) => {
  let crc = ~0;
  for (const byte of bytes) {
    crc ^= byte;
    for (let bit = 0; bit < 8; bit++) crc = crc & 1 ? (crc >>> 1) ^ 0xedb88320 : crc >>> 1;
  }
  return ~crc >>> 0;
};
const number = (value) => { const bytes = Buffer.alloc(4); bytes.writeUInt32BE(value); return bytes; };
const chunk = (kind, data) => {
  const named = Buffer.concat([Buffer.from(kind), data]);
  return Buffer.concat([number(data.length), named, number(crcOf(named))]);
};
const png = (width, height) => Buffer.concat([
  Buffer.from('89504e470d0a1a0a', 'hex'),
  chunk('IHDR', Buffer.concat([number(width), number(height), Buffer.from([8, 0, 0, 0, 0])])),
  chunk('IDAT', deflateSync(Buffer.alloc((width + 1) * height))),
  chunk('IEND', Buffer.alloc(0)),
]);

const PARAMETERS = {
  type: 'object',
  properties: { place: { type: 'string' }, days: { type: 'integer', minimum: 3 } },
  required: ['place', 'days'],
  additionalProperties: false,
};
const TOOL = { type: 'function', function: { name: 'weather', parameters: PARAMETERS } };

for (const [way, client] of Object.entries(WAYS)) {
  describe(`through ${way}`, () => {
    test('models are listed', async () => {
      const listed = (await all(client.models.list())).map((model) => model.id);
      for (const model of [MODEL, MINILM, PARROT, HERMIT, SORTER, PAINTER]) assert.ok(listed.includes(model));
    });

    test('a real model answers, whole and streamed alike', async () => {
      const asked = { model: MODEL, max_tokens: 16, temperature: 0, seed: 1 };
      const whole = await ask(client, 'What is the capital of France? Answer in one short sentence.', asked);
      assert.match(text(whole), /Paris/);
      const streamed = await all(await ask(client, 'What is the capital of France? Answer in one short sentence.', { ...asked, stream: true }));
      assert.equal(streamed.map((one) => one.choices[0].delta.content ?? '').join(''), text(whole));
    });

    test('usage, whole and streamed', async () => {
      const { usage } = await ask(client, 'hello there');
      assert.deepEqual([usage.prompt_tokens, usage.completion_tokens, usage.total_tokens], [2, 4, 6]);
      const chunks = await all(await ask(client, 'hello there', { stream: true, stream_options: { include_usage: true } }));
      assert.equal(chunks.map((one) => one.choices[0]?.delta.content ?? '').join(''), 'You said: hello there');
      assert.deepEqual(chunks.at(-1).usage, usage);
      assert.ok(chunks.slice(0, -1).every((one) => !one.usage));
    });

    test('limits, stops, choices', async () => {
      const [short] = (await ask(client, 'Count to 50', { max_completion_tokens: 3 })).choices;
      assert.deepEqual([short.message.content, short.finish_reason], ['1 2 3 ', 'length']);
      const [stopped] = (await ask(client, 'Count to 50', { stop: ['5'] })).choices;
      assert.deepEqual([stopped.message.content, stopped.finish_reason], ['1 2 3 4 ', 'stop']);
      const { choices } = await ask(client, 'hi', { n: 3 });
      assert.equal(new Set(choices.map((choice) => choice.message.content)).size, 3);
    });

    test('log probabilities', async () => {
      const { content } = (await ask(client, 'hi', { logprobs: true, top_logprobs: 2 })).choices[0].logprobs;
      assert.equal(content.map((one) => one.token).join(''), 'You said: hi');
      assert.ok(content.every((one) => one.top_logprobs.length === 2));
    });

    test('a tool is run, and its result heard', async () => {
      const heard = [];
      const run = ({ place, days }) => { heard.push([place, days]); return 'rain'; };
      const tool = { type: 'function', function: { ...TOOL.function, parse: JSON.parse, function: run } };
      const runner = client.chat.completions.runTools({ model: PARROT, messages: say('the weather, please'), tools: [tool] });
      assert.equal(await runner.finalContent(), 'The tool says: rain');
      assert.deepEqual(heard, [['the weather, please', 3]]);
      const forced = await ask(client, 'Oslo', { tools: [TOOL], tool_choice: 'required' });
      assert.equal(forced.choices[0].finish_reason, 'tool_calls');
      assert.deepEqual(JSON.parse(forced.choices[0].message.tool_calls[0].function.arguments), { place: 'Oslo', days: 3 });
    });

    test('a streamed tool call', async () => {
      const stream = client.chat.completions.stream({ model: PARROT, messages: say('the weather'), tools: [TOOL] });
      const [call] = (await stream.finalMessage()).tool_calls;
      assert.deepEqual([call.function.name, JSON.parse(call.function.arguments).place], ['weather', 'the weather']);
    });

    test('JSON that fits a schema', async () => {
      const schema = {
        type: 'object',
        properties: { title: { type: 'string' }, steps: { type: 'array', minItems: 2, items: { $ref: '#/$defs/step' } } },
        required: ['title', 'steps'],
        $defs: { step: { type: 'object', properties: { done: { type: 'boolean' }, of: { enum: ['a', 'b'] } } } },
      };
      const response_format = { type: 'json_schema', json_schema: { name: 'plan', strict: true, schema } };
      const expected = { title: 'move house', steps: [{ done: true, of: 'a' }, { done: true, of: 'a' }] };
      assert.deepEqual(JSON.parse(text(await ask(client, 'move house', { response_format }))), expected);
      const format = { type: 'json_schema', name: 'plan', strict: true, schema };
      const response = await client.responses.create({ model: PARROT, input: 'move house', text: { format } });
      assert.deepEqual(JSON.parse(response.output_text), expected);
    });

    test('images in messages', async () => {
      const url = `data:image/png;base64,${png(30, 20).toString('base64')}`;
      const parts = [{ type: 'text', text: 'What is it?' }, { type: 'image_url', image_url: { url } }];
      assert.equal(text(await ask(client, parts)), 'You show me 30 by 20.');
    });

    test('plain completions', async () => {
      const asked = { model: PARROT, prompt: 'Count to 30', max_tokens: 4 };
      const whole = await client.completions.create({ ...asked, n: 2, logprobs: 1 });
      assert.deepEqual(whole.choices.map((choice) => choice.text), ['1 2 3 4 ', '1 2 3 4 ']);
      assert.deepEqual(whole.choices[0].logprobs.text_offset, [0, 2, 4, 6]);
      const chunks = await all(await client.completions.create({ ...asked, stream: true }));
      assert.equal(chunks.map((one) => one.choices[0].text).join(''), '1 2 3 4 ');
    });

    test('embeddings', async () => {
      const { data, usage } = await client.embeddings.create({ model: SORTER, input: ['apples', 'pears', 'apples'] });
      assert.deepEqual([data.map((one) => one.index), usage.prompt_tokens], [[0, 1, 2], 3]);
      assert.deepEqual(data[0].embedding, data[2].embedding);
      assert.notDeepEqual(data[0].embedding, data[1].embedding);
      assert.ok(Math.abs(Math.hypot(...data[0].embedding) - 1) < 1e-5);
      const real = await client.embeddings.create({ model: MINILM, input: 'a cat' });
      assert.equal(real.data[0].embedding.length, 384);
    });

    test('images', async () => {
      const asked = { model: PAINTER, prompt: 'stripes', n: 2, size: '64x32', response_format: 'b64_json' };
      const images = (await client.images.generate(asked)).data.map((one) => Buffer.from(one.b64_json, 'base64'));
      assert.equal(images.length, 2);
      for (const image of images) {
        assert.deepEqual([image.readUInt32BE(16), image.readUInt32BE(20)], [64, 32]);
        assert.equal(inflateSync(image.subarray(41, 41 + image.readUInt32BE(33))).length, 9 * 32);
      }
    });

    test('responses, whole and streamed', async () => {
      const whole = await client.responses.create({ model: PARROT, input: 'hello', instructions: 'Be brief.' });
      assert.deepEqual([whole.status, whole.output_text], ['completed', 'You said: hello']);
      const events = await all(await client.responses.create({ model: PARROT, input: 'hello', stream: true }));
      const deltas = events.filter((event) => event.type === 'response.output_text.delta');
      assert.equal(deltas.map((event) => event.delta).join(''), 'You said: hello');
      assert.equal(events.at(-1).response.usage.output_tokens, deltas.length);
      const tool = { type: 'function', name: 'weather', parameters: PARAMETERS, strict: true };
      const called = await client.responses.create({ model: PARROT, input: 'Rome', tools: [tool], tool_choice: 'required' });
      assert.deepEqual(JSON.parse(called.output[0].arguments), { place: 'Rome', days: 3 });
    });

    test('errors are the package’s own', async () => {
      const wrong = [['temperature', 9], ['max_tokens', -1], ['n', 0], ['messages', []], ['stream', 1]];
      for (const [param, value] of wrong) {
        await assert.rejects(ask(client, 'hi', { [param]: value }), (error) => {
          assert.ok(error instanceof OpenAI.BadRequestError, `${param}: ${error}`);
          return error.param === param || error.message.includes(param);
        });
      }
      await assert.rejects(ask(client, 'hi', { model: 'nobody' }), (error) =>
        error instanceof OpenAI.NotFoundError && error.code === 'model_not_found');
      await assert.rejects(ask(client, 'hi', { model: PAINTER }), OpenAI.NotFoundError);
      await assert.rejects(ask(client, 'a'.repeat(5 * 1024 * 1024)), { status: 413, code: 'body_too_large' });
    });

    test('a busy engine says try again', async () => {
      // A channel takes several at once only after some were acknowledged; else the second would wait for its place there.
      for (let n = 0; n < 8; n++) await ask(client, 'hi', { model: HERMIT });
      const stream = await ask(client, 'Count to 20000', { model: HERMIT, max_tokens: 20_000, stream: true });
      await assert.rejects(ask(client, 'hi', { model: HERMIT }), OpenAI.RateLimitError);
      stream.controller.abort();
      const patient = client.withOptions({ maxRetries: 10 });
      assert.equal(text(await ask(patient, 'hi', { model: HERMIT })), 'You said: hi');
    });

    test('what is broken off is paid to the token', async () => {
      const asked = ask(client, 'Count to 20000', { max_tokens: 20_000, stream: true });
      const { data: stream, response } = await asked.withResponse();
      const before = await channel(response);
      assert.equal(before.in_flight, 1);
      let seen = 0;
      for await (const one of stream) {
        seen += one.choices[0]?.delta.content ? 1 : 0;
        if (seen === 20) break;
      }
      const after = await eventually('acknowledged', async () => {
        const books = await channel(response);
        return books.in_flight === 0 && books.count === books.acknowledged_count ? books : null;
      });
      const paid = after.total_units - before.total_units;
      assert.equal(after.count, before.count + 1);
      assert.ok(paid >= 20 && paid < 10_000, `${paid}`);
      assert.equal(after.acknowledged_units, after.total_units);
      assert.equal(after.available, after.granted - after.total_units);
    });
  });
}

test('a wrong key', async () => {
  await assert.rejects(ask(clientOf(field('GATEWAY_URL'), 'atoma-wrong'), 'hi'), (error) =>
    error instanceof OpenAI.AuthenticationError && error.code === 'invalid_api_key');
});

test('an empty wallet', async () => {
  await assert.rejects(ask(clientOf(field('POOR_URL'), 'any'), 'hi'), { status: 402, code: 'wallet_empty' });
});

test('an account without money, and its rate', async () => {
  const gateway = field('GATEWAY_URL');
  const post = async (path, body, token) => {
    const headers = { 'content-type': 'application/json', ...(token && { authorization: `Bearer ${token}` }) };
    return (await fetch(`${gateway}${path}`, { method: 'POST', headers, body: JSON.stringify(body) })).json();
  };
  const me = { login: 'grace@example.org', password: 'correct horse battery' };
  await post('/accounts', me);
  const { token } = await post('/sessions', me);
  const { secret } = await post('/keys', { name: 'app', limits: { requests_per_minute: 1 } }, token);
  const limited = (code) => (error) => error instanceof OpenAI.RateLimitError && error.code === code;
  await assert.rejects(ask(clientOf(gateway, secret), 'hi'), limited('insufficient_quota'));
  await assert.rejects(ask(clientOf(gateway, secret), 'hi'), limited('rate_limit_exceeded'));
});
