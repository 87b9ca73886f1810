import { chmodSync, mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { testEngine } from './engine.ts'

/**
 * The real llama-server behind a few lines of shell that run first, with the model's name in `$alias`: for engines that
 * start slowly or crash.
 */
export async function wrappedEngine(directory: string, script: string): Promise<string> {
  const { serverPath } = await testEngine()
  mkdirSync(directory, { recursive: true })
  const path = join(directory, 'llama-server')
  const findAlias =
    'alias=; previous=; for one in "$@"; do [ "$previous" = --alias ] && alias="$one"; previous="$one"; done'
  writeFileSync(path, `#!/bin/sh\n${findAlias}\n${script}\nexec '${serverPath}' "$@"\n`)
  chmodSync(path, 0o755)
  return path
}
