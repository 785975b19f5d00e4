// The unmodified TypeScript client of Sui against a running devnet. Every field of the line of JSON that
// `cargo run --release -p atoma-devnet --example devnet_for_clients` prints is in ATOMA_<FIELD>.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { bcs } from '@mysten/sui/bcs';
import { SuiGrpcClient } from '@mysten/sui/grpc';
import { Ed25519Keypair } from '@mysten/sui/keypairs/ed25519';
import { Transaction } from '@mysten/sui/transactions';
import { fromHex } from '@mysten/sui/utils';

const field = (name) => process.env[`ATOMA_${name}`] ?? assert.fail(`set ATOMA_${name}; see package.json`);
const net = {
  rpcUrl: field('RPC_URL'), package: field('PACKAGE'), db: field('DB'), coinType: field('COIN_TYPE'),
  secretKey: field('SECRET_KEY'), address: field('ADDRESS'), requestKey: field('REQUEST_KEY'), task: field('TASK'),
  units: field('UNITS'), maxPrice: field('MAX_PRICE'), payment: field('PAYMENT'),
};
const client = new SuiGrpcClient({ network: 'devnet', baseUrl: net.rpcUrl });
const keypair = Ed25519Keypair.fromSecretKey(fromHex(net.secretKey));
const SUI = 1_000_000_000n;

const address = bcs.Address;
const hash = bcs.vector(bcs.u8());
// As in the Move package, up to the fields the test looks at.
const StackHead = bcs.struct('Stack', {
  id: address, version: bcs.u64(), db: address, owner: address, request_key: hash, task: bcs.u64(), level: bcs.u8(), exact: bcs.bool(),
  weight_input: bcs.u64(), weight_output: bcs.u64(), max_price: bcs.u64(), total_units: bcs.u64(),
});
const StackAcquired = bcs.struct('StackAcquired', {
  stack: address, owner: address, task: bcs.u64(), level: bcs.u8(), request_key: hash, units: bcs.u64(),
  max_price: bcs.u64(), selection: bcs.u8(), drawn: bcs.vector(bcs.u64()), echelons: bcs.vector(bcs.u64()),
  surcharge: bcs.u64(), balance: bcs.u64(), expires_ms: bcs.u64(),
});

const balance = async (owner, coinType) => BigInt((await client.core.getBalance({ owner, coinType })).balance.balance);

async function execute(transaction) {
  const result = await client.signAndExecuteTransaction({
    transaction, signer: keypair, include: { effects: true, events: true, objectTypes: true, balanceChanges: true },
  });
  assert.ok(result.Transaction, JSON.stringify(result.FailedTransaction?.status));
  await client.core.waitForTransaction({ result });
  return result.Transaction;
}

test('the account is who the devnet says', async () => {
  assert.equal(keypair.toSuiAddress(), net.address);
  assert.match((await client.core.getChainIdentifier()).chainIdentifier, /^[1-9A-HJ-NP-Za-km-z]+$/);
  assert.equal((await client.core.getReferenceGasPrice()).referenceGasPrice, '1000');
});

test('balances and coins are read', async () => {
  assert.equal(await balance(net.address), 100n * SUI);
  assert.equal(await balance(net.address, net.coinType), 10_000n * 1_000_000n);
  const { objects } = await client.core.listCoins({ owner: net.address, coinType: net.coinType });
  assert.deepEqual(objects.map((coin) => coin.balance), ['10000000000']);
  const { coinMetadata } = await client.core.getCoinMetadata({ coinType: net.coinType });
  assert.deepEqual([coinMetadata.symbol, coinMetadata.decimals], ['USD', 6]);
  assert.equal((await client.core.listBalances({ owner: net.address })).balances.length, 2);
});

test('a missing object is an error, not a crash', async () => {
  const { objects } = await client.core.getObjects({ objectIds: [net.db, '0x77'] });
  assert.equal(objects[0].objectId, net.db);
  assert.ok(objects[1] instanceof Error);
});

test('a signed transfer arrives and costs gas', async () => {
  const before = await balance(net.address);
  const to = '0x' + '42'.repeat(32);
  const transaction = new Transaction();
  const [coin] = transaction.splitCoins(transaction.gas, [123_456]);
  transaction.transferObjects([coin], to);
  const done = await execute(transaction);
  assert.equal(await balance(to), 123_456n);
  const { computationCost, storageCost, storageRebate } = done.effects.gasUsed;
  const cost = BigInt(computationCost) + BigInt(storageCost) - BigInt(storageRebate);
  assert.equal(await balance(net.address), before - 123_456n - cost);
  const change = done.balanceChanges.find((found) => found.address === to);
  assert.equal(change.amount, '123456');
});

test('a stack is bought, and its object and event are read', async () => {
  const { objects } = await client.core.listCoins({ owner: net.address, coinType: net.coinType });
  const before = await balance(net.address, net.coinType);
  const transaction = new Transaction();
  const [payment] = transaction.splitCoins(transaction.object(objects[0].objectId), [net.payment]);
  transaction.moveCall({
    target: `${net.package}::stack::acquire`,
    typeArguments: [net.coinType],
    arguments: [
      transaction.object(net.db), transaction.object.random(), payment, transaction.pure.u64(net.task),
      transaction.pure.vector('u8', fromHex(net.requestKey)), transaction.pure.u64(net.units),
      transaction.pure.u64(net.maxPrice), transaction.pure.u8(0), transaction.pure.u64(1), transaction.pure.u64(0),
      transaction.pure.vector('u64', []), transaction.object.clock(),
    ],
  });
  const done = await execute(transaction);

  const event = done.events.find((found) => found.eventType === `${net.package}::events::StackAcquired`);
  const acquired = StackAcquired.parse(event.bcs);
  assert.equal(acquired.owner, net.address);
  assert.deepEqual([acquired.units, acquired.drawn], [String(net.units), ['1']]);
  assert.equal(await balance(net.address, net.coinType), before - BigInt(acquired.balance));

  const { object } = await client.core.getObject({ objectId: acquired.stack, include: { content: true, json: true } });
  assert.equal(object.owner.$kind, 'Shared');
  assert.equal(object.type, `${net.package}::stack::Stack<${net.coinType}>`);
  const stack = StackHead.parse(object.content);
  assert.deepEqual([stack.id, stack.db, stack.owner, stack.total_units], [acquired.stack, net.db, net.address, String(net.units)]);
  assert.equal(object.json.total_units, String(net.units));

  const { events } = await client.core.listEvents({ filter: { eventType: `${net.package}::events::StackAcquired` } });
  assert.ok(events.some((found) => found.transactionDigest === done.digest && found.checkpoint !== null));
});

test('a view answers through a dry run, and functions are described', async () => {
  const transaction = new Transaction();
  transaction.moveCall({
    target: `${net.package}::views::task`, typeArguments: [net.coinType],
    arguments: [transaction.object(net.db), transaction.pure.u64(net.task)],
  });
  transaction.setSender(net.address);
  const result = await client.core.simulateTransaction({ transaction, include: { effects: true, commandResults: true } });
  assert.equal(result.$kind, 'Transaction');
  assert.ok(result.commandResults[0].returnValues[0].bcs.length > 32);
  const { function: found } = await client.core.getMoveFunction({ packageId: net.package, moduleName: 'stack', name: 'acquire' });
  assert.deepEqual([found.visibility, found.isEntry, found.parameters.length], ['private', true, 13]);
});

test('an abort is reported with its code and moves no money', async () => {
  const before = await balance(net.address, net.coinType);
  const transaction = new Transaction();
  transaction.moveCall({
    target: `${net.package}::views::task`, typeArguments: [net.coinType],
    arguments: [transaction.object(net.db), transaction.pure.u64(99)],
  });
  await assert.rejects(
    client.signAndExecuteTransaction({ transaction, signer: keypair }),
    (error) => error.message.includes('12') && error.message.includes('task'),
  );
  assert.equal(await balance(net.address, net.coinType), before);
});

test('checkpoints stream', async () => {
  const abort = new AbortController();
  const call = client.subscriptionService.subscribeCheckpoints({ readMask: { paths: ['sequence_number', 'digest'] } }, { abort: abort.signal });
  for await (const frame of call.responses) {
    assert.equal(frame.cursor, frame.checkpoint.sequenceNumber);
    break;
  }
  abort.abort();
});
