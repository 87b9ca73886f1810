import { pathToFileURL } from 'node:url'
import { silentLog } from '../../../src/core/log.ts'
import { migrate } from '../../../src/storage/migrate.ts'
import { systemClock } from '../../../src/system.ts'

// Run by tests as a process of its own: applies the migrations in argv[3] to the database that argv[2] describes.
const [, , connection = '', directory = ''] = process.argv
await migrate({
  connection: JSON.parse(connection),
  directory: pathToFileURL(`${directory}/`),
  log: silentLog,
  clock: systemClock,
})
