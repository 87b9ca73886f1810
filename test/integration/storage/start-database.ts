import { HelixError } from '../../../src/core/errors.ts'
import { silentLog } from '../../../src/core/log.ts'
import { startEmbeddedPostgres } from '../../../src/storage/embedded-postgres.ts'
import { systemClock } from '../../../src/system.ts'

// Run by tests as a process of its own: has the database in argv[2] until its standard input ends.
const [, , directory = '', runtimeDirectory = ''] = process.argv
try {
  const options = { directory, runtimeDirectory, log: silentLog, clock: systemClock }
  const postgres = await startEmbeddedPostgres(options)
  console.log(JSON.stringify({ host: postgres.connection.host, directory: postgres.directory }))
  process.stdin.resume().once('end', () => postgres.stop())
} catch (reason) {
  const { code, message } = HelixError.from(reason)
  console.log(JSON.stringify({ code, message }))
}
