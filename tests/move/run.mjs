// Builds Move packages with the real Sui compiler and verifier and runs their tests on the real Move VM, both as
// WebAssembly. Both always: the verifier refuses things that the tests alone would let pass.
//
//   node run.mjs [build] [test] [--tests FILE...]
//
// Without arguments, everything. With --tests, only these test files, from any folder, with the package's sources.
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

async function build(root) {
  const fetcher = new LocalFetcher(root);
  const built = await dumpMovePackage({ files: readPackage(root), fetcher, network, ansiColor });
  if (built.error) fail('build', built);
  const bytes = packageBytes(root, built);
  console.log(`move build: ${path.relative(contracts, root)}: ${built.modules.length} modules, ${bytes} bytes`);
  if (bytes > packageBytesMax) fail('build', { error: `a package may have ${packageBytesMax} bytes` });
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

const [steps, tests] = process.argv.includes('--tests')
  ? [process.argv.slice(2, process.argv.indexOf('--tests')), process.argv.slice(process.argv.indexOf('--tests') + 1)]
  : [process.argv.slice(2), null];
const unknown = steps.find((step) => step !== 'build' && step !== 'test');
if (unknown !== undefined || tests?.length === 0) {
  console.error('usage: node run.mjs [build] [test] [--tests FILE...]');
  process.exit(64);
}
const wants = (step) => steps.length === 0 || steps.includes(step);

const packages = tests ? [market] : [base, market, framework];
for (const root of packages) {
  if (wants('build')) await build(root);
  if (!wants('test')) continue;
  await test(root, tests ? withTestFiles(readPackage(root), tests) : readPackage(root, true));
}
