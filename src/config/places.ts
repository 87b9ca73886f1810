import { createHash } from 'node:crypto'
import { lstatSync, mkdirSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { HelixError } from '../core/errors.ts'
import type { Config } from './schema.ts'

/** Where everything of one installation lies. */
export interface Places {
  readonly home: string
  readonly models: string
  /** Engines built here. */
  readonly engines: string
  /** What models took of memory when they were loaded. */
  readonly footprints: string
  readonly postgres: string
  /** The secret that key hashes are made with. */
  readonly pepper: string
  /** Usage records on their way to the database. */
  readonly spool: string
  /** Sockets; short, since their paths may have 107 bytes. Not kept over a restart of the machine. */
  readonly runtime: string
  readonly controlSocket: string
}

export function placesOf(home: string, config: Config): Places {
  const userId = process.getuid?.() ?? 0
  const id = createHash('sha256').update(home).digest('hex').slice(0, 8)
  const runtime = join(tmpdir(), `helixflow-${userId}-${id}`)
  const directory = config.database.driver === 'embedded' ? config.database.directory : undefined
  return {
    home,
    models: config.models.directory ?? join(home, 'models'),
    engines: join(home, 'engines'),
    footprints: join(home, 'footprints.json'),
    postgres: directory ?? join(home, 'postgres'),
    pepper: join(home, 'key-pepper'),
    spool: join(home, 'spool'),
    runtime,
    controlSocket: join(runtime, 'control.sock'),
  }
}

/**
 * Makes the folders that a running server writes to, for this user alone.
 * @throws HelixError `invalid_configuration` when one cannot be made or belongs to somebody else
 */
export function makePlaces(places: Places): void {
  for (const directory of [places.home, places.models, places.engines, places.spool, places.runtime])
    makeDirectory(directory)
  const { uid } = lstatSync(places.runtime)
  if (process.getuid && uid !== process.getuid()) {
    throw new HelixError(
      'invalid_configuration',
      `${places.runtime} belongs to another user; remove it or set TMPDIR.`,
    )
  }
}

function makeDirectory(directory: string): void {
  try {
    mkdirSync(directory, { recursive: true, mode: 0o700 })
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message : String(cause)
    throw new HelixError(
      'invalid_configuration',
      `Cannot make the folder ${directory}: ${reason}. Set HELIXFLOW_HOME to a folder that you can write to.`,
      { cause },
    )
  }
}
