/** Another process that tells a webhook of one notification: database (JSON), url, notification (JSON). */

import { silentLog } from '../../../src/core/log.ts'
import { noMetrics } from '../../../src/core/metrics.ts'
import { Notifier } from '../../../src/monitor/notify/notifier.ts'
import { Outbox } from '../../../src/monitor/notify/outbox.ts'
import { openDatabase } from '../../../src/storage/database.ts'
import { systemClock, systemRandom } from '../../../src/system.ts'
import { receiversOf } from '../../support/notifications.ts'

const [connection = '', url = '', notification = ''] = process.argv.slice(2)
const database = openDatabase(JSON.parse(connection), {
  acquireTimeoutMs: 1_000,
  queryTimeoutMs: 5_000,
  log: silentLog,
  clock: systemClock,
})
const notifier = new Notifier({
  receivers: receiversOf({ kind: 'webhook', name: 'hook', url }),
  runbookUrl: undefined,
  outbox: new Outbox(database, systemClock),
  clock: systemClock,
  random: systemRandom,
  metrics: noMetrics,
  log: silentLog,
})
notifier.start()
await notifier.send(JSON.parse(notification))
process.stdout.write('{}\n')
process.stdin.resume()
