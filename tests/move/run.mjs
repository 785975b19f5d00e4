// Builds Move packages with the real Sui compiler and verifier and runs their tests on the real Move VM, both as
// WebAssembly. Both always: the verifier refuses things that the tests alone would let pass.
//
//   node run.mjs [build] [test] [--tests FILE...]
//   node run.mjs dump [FOLDER]
//
// `dump` prints a package, or the market's, as `sui move build --dump-bytecode-as-base64` does: one line of JSON with
// modules, dependencies and digest. Without arguments, everything. With --tests, only these test files, from any folder, with the package's sources.
// A test module per file; at most a few megabytes a run, because compiling takes more than linear time.
import fs from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { dumpMovePackage, testMovePackage } from '@zktx.io/sui-move-builder/full';
import { LocalFetcher, ansiColor, network, readPackage } from './package.mjs';

const contracts = path.resolve(path.dirname(fileURLToPath(import.meta.url)), '../../contracts');
const base = path.join(contracts, 'atoma_base');
const market = path.join(contracts, 'atoma');
const framework = path.join(contracts, 'framework/tests');
// Sui refuses a larger package (`max_move_package_size` of the protocol config).
const packageBytesMax = 102_400;

function withTestFiles(files, tests) {
  const named = tests.map((file, i) => [`tests/${i}_${path.basename(file)}`, fs.readFileSync(file, 'utf8')]);
  return { ...files, ...Object.fromEntries(named) };
}

function fail(step, { category, code, error, output }) {
  console.error(`move ${step} failed: ${category ?? ''} ${code ?? ''}\n${error ?? output}`);
  process.exit(1);
}

// The size of a package as Sui counts it: modules, where each type was defined, and what it is linked with.
function packageBytes(root, { modules, dependencies }) {
  let bytes = 8 + dependencies.length * (32 + 32 + 8);
  for (const module of modules) bytes += Buffer.from(module, 'base64').length;
  for (const source of Object.values(readPackage(root, false))) {
    const name = source.match(/^module \w+::(\w+);/m)?.[1];
    if (name === undefined) continue;
    bytes += name.length;
    for (const [, type] of source.matchAll(/^public (?:struct|enum) (\w+)/gm)) bytes += name.length + type.length + 32;
  }
  return bytes;
}

// The base at an address of its own, as it is when the market is published: at the market's, some bytes are shared.
function apart(fetcher) {
  const fetchLocal = fetcher.fetchLocal;
  fetcher.fetchLocal = async (name) => {
    const files = await fetchLocal(name);
    if (path.basename(name) !== 'atoma_base') return files;
    const manifest = files['Move.toml'].replace('[package]', '[package]\npublished-at = "0xba5e"');
    return { ...files, 'Move.toml': manifest.replace('atoma_base = "0x0"', 'atoma_base = "0xba5e"') };
  };
  return fetcher;
}

async function build(root) {
  const fetcher = apart(new LocalFetcher(root));
  const built = await dumpMovePackage({ files: readPackage(root), fetcher, network, ansiColor });
  if (built.error) fail('build', built);
  const bytes = packageBytes(root, built);
  console.log(`move build: ${path.relative(contracts, root)}: ${built.modules.length} modules, ${bytes} bytes`);
  if (bytes > packageBytesMax) fail('build', { error: `a package may have ${packageBytesMax} bytes` });
}

async function dump(root) {
  const fetcher = new LocalFetcher(root);
  const built = await dumpMovePackage({ files: readPackage(root, false), fetcher, network, ansiColor });
  if (built.error) fail('build', built);
  const { modules, dependencies, digest } = built;
  // Written to its end before the process exits, whatever the size of the pipe.
  const line = JSON.stringify({ modules, dependencies, digest });
  await new Promise((done) => process.stdout.write(`${line}\n`, done));
}

async function test(root, files) {
  const fetcher = new LocalFetcher(root);
  const tested = await testMovePackage({ files, fetcher, network, ansiColor, silenceWarnings: true });
  if (tested.error || !tested.passed) fail('test', tested);
  console.log(tested.output);
  const passed = (tested.output.match(/\[ PASS\s*\]/g) ?? []).length;
  if (passed === 0) fail('test', { error: 'no test ran' });
  console.log(`${passed} passed, 0 failed`);
}

if (process.argv[2] === 'dump') {
  await dump(path.resolve(process.argv[3] ?? market));
  process.exit(0);
}
const [steps, tests] = process.argv.includes('--tests')
  ? [process.argv.slice(2, process.argv.indexOf('--tests')), process.argv.slice(process.argv.indexOf('--tests') + 1)]
  : [process.argv.slice(2), null];
const unknown = steps.find((step) => step !== 'build' && step !== 'test');
if (unknown !== undefined || tests?.length === 0) {
  console.error('usage: node run.mjs [build] [test] [--tests FILE...] | dump [FOLDER]');
  process.exit(64);
}
const wants = (step) => steps.length === 0 || steps.includes(step);

const packages = tests ? [market] : [base, market, framework];
for (const root of packages) {
  if (wants('build')) await build(root);
  if (!wants('test')) continue;
  await test(root, tests ? withTestFiles(readPackage(root), tests) : readPackage(root, true));
}
