import { expect, test } from 'vitest'
import { deviceReport } from '../../test/support/hand-node.ts'
import { noMetrics } from '../core/metrics.ts'
import { emptyCluster } from '../scheduler/state.ts'
import { PoolMetrics } from './pool-metrics.ts'

test('a device whose node is gone is not shown as healthy', () => {
  const shown = new Map<string, number>()
  const set = (name: string, labels: object, value: number) =>
    shown.set(JSON.stringify([name, labels]), value)
  const metrics = new PoolMetrics({ ...noMetrics, set }, 'auto')
  metrics.devices(emptyCluster([]), [deviceReport('x', 100)])
  const healthy = JSON.stringify(['helixflow_device_healthy', { device: 'x' }])
  expect(shown.get(healthy)).toBe(1)
  metrics.devices(emptyCluster([]), [])
  expect(shown.get(healthy)).toBe(0)
})
