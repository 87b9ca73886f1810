import type { Cluster, Redis } from 'ioredis'
import type { Clock } from '../core/clock.ts'
import type { Metrics } from '../core/metrics.ts'
import { withinDeadline } from './deadline.ts'

export interface HeartbeatOptions {
  readonly metrics: Metrics
  readonly clock: Clock
}

const EVERY_MS = 2_000
const ANSWER_TIMEOUT_MS = 1_000

/** Whether Redis answers: a frozen one keeps its connections, so that these alone do not tell. */
export function watchRedis(client: Redis | Cluster, { metrics, clock }: HeartbeatOptions): () => void {
  let stopped = false
  let connectedBefore = false
  let cancel = () => {}
  client.on('ready', () => {
    if (connectedBefore) metrics.add('helixflow_redis_reconnects_total', {})
    connectedBefore = true
  })
  const beat = async () => {
    const up = await withinDeadline(clock, ANSWER_TIMEOUT_MS, client.ping()).then(
      () => 1,
      () => 0,
    )
    if (stopped) return
    metrics.set('helixflow_redis_up', {}, up)
    cancel()
    cancel = clock.schedule(EVERY_MS, beat)
  }
  // At the start there is no connection yet, and that it is made says as much as an answer does.
  client.once('ready', () => {
    cancel()
    void beat()
  })
  cancel = clock.schedule(EVERY_MS, beat)
  return () => {
    stopped = true
    cancel()
  }
}
