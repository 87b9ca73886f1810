import { silentLog } from '../../../src/core/log.ts'
import { Spool } from '../../../src/gateway/usage/spool.ts'
import { systemClock } from '../../../src/system.ts'
import { usageRecord } from '../../support/usage-records.ts'

// Run by tests as a process of its own: appends records numbered from argv[3] to the spool in argv[2], and says each
// number once it is appended, until it is killed.
const [, , directory = '', first = ''] = process.argv
const spool = new Spool({ directory, bytesMax: 2 ** 26, token: 'child', clock: systemClock, log: silentLog })
const step = (number: number): void => {
  for (let at = number; at < number + 50; at++) {
    if (!spool.reserve(1_024)) process.exit(1)
    spool.append(usageRecord(at, { user: 'x'.repeat(at % 200) }), 1_024)
    process.stdout.write(`${at}\n`)
  }
  setImmediate(step, number + 50)
}
step(Number(first))
