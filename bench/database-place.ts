import { chmodSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { silentLog } from '../src/core/log.ts'
import { startEmbeddedPostgres } from '../src/storage/embedded-postgres.ts'
import { systemClock } from '../src/system.ts'

/** A real database of its own for one benchmark; gone after `stop`. */
export async function startDatabase() {
  const root = mkdtempSync(join(tmpdir(), 'helixflow-bench-'))
  // As root, the database runs as another user, who has to pass here.
  chmodSync(root, 0o711)
  const postgres = await startEmbeddedPostgres({
    directory: join(root, 'postgres'),
    runtimeDirectory: join(root, 'run'),
    log: silentLog,
    clock: systemClock,
  })
  const stop = async () => {
    await postgres.stop()
    rmSync(root, { recursive: true, force: true })
  }
  return { root, connection: postgres.connection, version: postgres.version, stop }
}
