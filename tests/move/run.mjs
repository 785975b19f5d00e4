// Builds the Move package with the real Sui compiler and verifier and runs its tests on the real Move VM,
// both as WebAssembly. Both always: the verifier refuses things that the tests alone would let pass.
import fs from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { initMovePackageBuilder, dumpMovePackage, MovePackageFetcher } from '@zktx.io/sui-move-builder';
import { testMovePackage, initMovePackageBuilder as initTests } from '@zktx.io/sui-move-builder/full';

const root = path.resolve(path.dirname(fileURLToPath(import.meta.url)), '../../contracts/atoma');

function readPackage(dir, withTests) {
  const files = {};
  const visit = (folder) => {
    for (const entry of fs.readdirSync(folder, { withFileTypes: true })) {
      const full = path.join(folder, entry.name);
      const name = path.relative(dir, full);
      if (entry.isDirectory()) {
        if (entry.name !== 'build') visit(full);
      } else if (name === 'Move.toml' || name.endsWith('.move')) {
        if (withTests || !name.startsWith('tests/')) files[name] = fs.readFileSync(full, 'utf8');
      }
    }
  };
  visit(dir);
  return files;
}

class LocalFetcher extends MovePackageFetcher {
  constructor() {
    super();
    this.fetchLocal = async (name) => readPackage(path.resolve(root, name), false);
  }
  async fetch(url) {
    throw new Error(`the package must build offline, but asks for ${url}`);
  }
  async fetchFile() {
    return null;
  }
  getResolvedSha() {
    return undefined;
  }
}

function fail(step, result) {
  console.error(`move ${step} failed: ${result.category ?? ''} ${result.code ?? ''}\n${result.error ?? result.output}`);
  process.exit(1);
}

await initMovePackageBuilder();
const built = await dumpMovePackage({ files: readPackage(root, false), fetcher: new LocalFetcher(), network: 'mainnet' });
if (built.error) fail('build', built);
console.log(`move build: ${built.modules.length} modules`);

await initTests();
const tested = await testMovePackage({
  files: readPackage(root, true),
  fetcher: new LocalFetcher(),
  network: 'mainnet',
  silenceWarnings: true,
});
if (tested.error || !tested.passed) fail('test', tested);
const report = tested.output.replace(/\x1b\[[0-9;]*m/g, '');
console.log(report);
const passed = (report.match(/\[ PASS\s*\]/g) ?? []).length;
if (passed === 0) fail('test', { error: 'no test ran' });
console.log(`${passed} passed, 0 failed`);
