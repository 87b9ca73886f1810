import { chmodSync, closeSync, mkdirSync, mkdtempSync, openSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { stringify } from 'yaml'
import { placesOf } from '../src/config/places.ts'
import { parseConfig } from '../src/config/schema.ts'
import { type Started, startProcess } from './process.ts'

const program = join(import.meta.dirname, '..', 'bin', 'helixflow.js')

export interface HelixFlow extends Omit<Started<unknown>, 'ready'> {
  readonly port: number
  readonly apiKey: string
  /** Where its log goes, the access log included. */
  readonly logPath: string
  /** Of whoever started it in its own way. */
  readonly controlPort: number | undefined
}

/**
 * `helixflow up` as an operator runs it: the compiled program, its own database, API keys, the access log in a file.
 * Its data is gone after `stop`.
 */
export async function startHelixFlow(options: {
  readonly config: Readonly<Record<string, unknown>>
  readonly core?: number
  /** What starts it in place of the program, and takes its arguments. */
  readonly launcher?: string
}): Promise<HelixFlow> {
  const home = mkdtempSync(join(tmpdir(), 'helixflow-bench-'))
  const config = {
    metrics: { port: 0 },
    ...options.config,
    log: { level: 'info', format: 'json' },
  }
  const configPath = join(home, 'bench.yaml')
  writeFileSync(configPath, stringify(config))
  const { runtime } = placesOf(home, parseConfig(config))
  mkdirSync(runtime)
  // As root, the database runs as another user, who has to pass here; else it would move to a place of its own.
  for (const directory of [home, runtime]) chmodSync(directory, 0o711)
  const logPath = join(home, 'helixflow.log')
  const log = openSync(logPath, 'a')
  const { ready, ...started } = await startProcess<{ url: string; apiKey: string; controlPort?: number }>({
    command: process.execPath,
    args: [options.launcher ?? program, 'up', '--json', '--config', configPath],
    environment: { HELIXFLOW_HOME: home },
    stderr: log,
    ...(options.core === undefined ? {} : { core: options.core }),
    cleanUp: () => {
      closeSync(log)
      for (const directory of [home, runtime]) rmSync(directory, { recursive: true, force: true })
    },
  })
  const { url, apiKey, controlPort } = ready
  return { ...started, port: Number(new URL(url).port), apiKey, logPath, controlPort }
}
