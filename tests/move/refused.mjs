// What a package of somebody else may not do must not compile: every module of refused/sources that names in its second
// line what the compiler says, alone with `allowed`, which does compile.
import fs from 'node:fs';
import path from 'node:path';
import { dumpMovePackage } from '@zktx.io/sui-move-builder/full';
import { LocalFetcher, readPackage, network } from './package.mjs';

const root = path.join(import.meta.dirname, 'refused');
const { 'Move.toml': manifest, ...sources } = readPackage(root);
const allowed = 'sources/allowed.move';

async function build(names) {
  const files = { 'Move.toml': manifest, ...Object.fromEntries(names.map((name) => [name, sources[name]])) };
  return dumpMovePackage({ files, fetcher: new LocalFetcher(root), network, ansiColor: false });
}

const plain = await build([allowed]);
if (plain.error) throw new Error(`allowed.move must compile:\n${plain.error}`);
const names = Object.keys(sources).filter((name) => name !== allowed);
for (const name of names) {
  const expected = sources[name].match(/^\/\/ refused: (.+)$/m)[1];
  const built = await build([allowed, name]);
  if (!built.error?.includes(expected)) {
    throw new Error(`${name} must be refused with "${expected}", but: ${built.error ?? 'it compiles'}`);
  }
  console.log(`refused: ${path.basename(name, '.move')}`);
}
console.log(`${names.length} passed, 0 failed`);
