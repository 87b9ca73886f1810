import type { Clock } from '../../../core/clock.ts'
import { type ReadinessChecks, type Reason, unreadiness } from '../../routes/health.ts'
import type { Publisher } from '../facts.ts'

const EVERY_MS = 3_000

/** Each reason why the gateway is not ready, when it begins and when it is over. */
export function alertsPublisher(readiness: ReadinessChecks, clock: Clock): Publisher {
  return { start: (_about, publish) => watch({ readiness, clock }, publish) }
}

function watch(
  { readiness, clock }: { readonly readiness: ReadinessChecks; readonly clock: Clock },
  publish: (data: string) => void,
): () => void {
  let open = new Map<Reason['code'], Reason>()
  let stopped = false
  let cancel = () => {}
  const tell = (state: 'firing' | 'resolved', reason: Reason) =>
    publish(JSON.stringify({ state, ...reason, time: clock.now() }))
  const turn = async () => {
    const reasons = await unreadiness(readiness).catch(() => undefined)
    if (stopped) return
    if (reasons) {
      const now = new Map(reasons.map((reason) => [reason.code, reason]))
      for (const [code, reason] of now) if (!open.has(code)) tell('firing', reason)
      for (const [code, reason] of open) if (!now.has(code)) tell('resolved', reason)
      open = now
    }
    cancel = clock.schedule(EVERY_MS, turn)
  }
  void turn()
  return () => {
    stopped = true
    cancel()
  }
}
