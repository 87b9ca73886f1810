import { availableParallelism, freemem, loadavg, totalmem } from 'node:os'
import type { PoolClient } from '../../../contracts/pool.ts'
import type { Clock } from '../../../core/clock.ts'
import type { Publisher } from '../facts.ts'
import { publishChanges } from './repeat.ts'

const EVERY_MS = 5_000

/** What the gateway's machine has and uses. */
export function devicesPublisher(pool: PoolClient, clock: Clock, instance: string): Publisher {
  return {
    start: (_about, publish) =>
      publishChanges({ clock, everyMs: EVERY_MS }, () => machine(pool, clock, instance), publish),
  }
}

async function machine(pool: PoolClient, clock: Clock, instance: string): Promise<object> {
  const loaded = (await pool.listModels()).filter(({ state }) => state === 'ready')
  const devices = await pool.listDevices()
  const [load = 0] = loadavg()
  return {
    node: instance,
    time: clock.now(),
    cpus: availableParallelism(),
    load_1m: load,
    memory_bytes: totalmem(),
    memory_free_bytes: freemem(),
    gateway_bytes: process.memoryUsage.rss(),
    devices: devices.map((device) => ({
      ...{ id: device.id, node: device.node, kind: device.kind, name: device.name, health: device.health },
      ...{ memory_bytes: device.totalBytes, memory_free_bytes: device.freeBytes },
      ...{ foreign_bytes: device.foreignBytes, utilization: device.utilization ?? null },
      models: device.instances.map(({ model, bytes }) => ({ id: model, memory_bytes: bytes })),
    })),
    // What the pool reckons for them; undefined where it knows nothing, as of an upstream.
    models: loaded.map(({ name, memoryBytes }) => ({ id: name, memory_bytes: memoryBytes ?? null })),
  }
}
