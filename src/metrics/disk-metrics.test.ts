import { mkdtempSync, rmSync, statfsSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, onTestFinished, test } from 'vitest'
import { MetricValues } from '../../test/support/metric-values.ts'
import { ManualClock } from '../core/clock.ts'
import { watchDisk } from './disk-metrics.ts'

test('a folder that is not there yet has the room of the disk it will lie on; looked at again and again until it ends', async () => {
  const root = mkdtempSync(join(tmpdir(), 'helixflow-disk-'))
  onTestFinished(() => rmSync(root, { recursive: true }))
  const metrics = new MetricValues()
  const clock = new ManualClock()
  const free = () => metrics.value('helixflow_disk_free_bytes', { place: 'backups' })
  const total = () => metrics.value('helixflow_disk_total_bytes', { place: 'backups' })
  const end = watchDisk(metrics, { place: 'backups', directory: join(root, 'to', 'be'), clock })
  await expect.poll(free).toBeGreaterThan(0)
  const { blocks, bsize } = statfsSync(root)
  expect(total()).toBe(blocks * bsize)
  metrics.drop('helixflow_disk_free_bytes', {})
  clock.advance(30_000)
  await expect.poll(free).toBeGreaterThan(0)
  end()
  metrics.drop('helixflow_disk_free_bytes', {})
  clock.advance(300_000)
  expect(free()).toBeUndefined()
})
