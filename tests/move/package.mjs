// Move packages of this repository as the builder wants them: their files, and their dependencies from beside them.
import fs from 'node:fs';
import path from 'node:path';
import { MovePackageFetcher } from '@zktx.io/sui-move-builder/full';

export const network = 'mainnet';
export const ansiColor = false;

export function readPackage(dir, withTests = false) {
  const files = {};
  for (const name of fs.readdirSync(dir, { recursive: true })) {
    const wanted = name.endsWith('.move') ? withTests || !name.startsWith('tests/') : name === 'Move.toml';
    if (wanted && !name.startsWith('build/')) files[name] = fs.readFileSync(path.join(dir, name), 'utf8');
  }
  return files;
}

export class LocalFetcher extends MovePackageFetcher {
  constructor(root) {
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
