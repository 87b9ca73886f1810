import { expect, test } from 'vitest'
import { silentLog } from '../core/log.ts'
import { MetricRegistry } from '../metrics/registry.ts'
import { systemClock } from '../system.ts'
import { Leadership } from './leader.ts'

test('a pool that has never led says so, so that it is seen that none does', async () => {
  const metrics = new MetricRegistry()
  const leadership = new Leadership({
    // Nothing listens there.
    connection: 'postgres://nobody@127.0.0.1:1/nothing',
    url: 'https://pool:9444',
    lead: () => expect.unreachable(),
    clock: systemClock,
    log: silentLog,
    metrics,
  })
  await leadership.stop()
  expect([...metrics.text('prometheus')].join('').split('\n')).toContain('helixflow_pool_leader 0')
})
