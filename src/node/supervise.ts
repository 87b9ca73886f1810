import type { EngineExit } from '../contracts/node.ts'
import type { Clock } from '../core/clock.ts'
import type { LlamaServer } from '../engines/llama-server.ts'

export interface SupervisionOptions {
  readonly probeIntervalMs: number
  readonly probeTimeoutMs: number
  readonly clock: Clock
}

/** Signals that somebody sends; all others come from the program's own failure. */
const SENT_SIGNALS: readonly string[] = ['SIGKILL', 'SIGTERM', 'SIGINT', 'SIGHUP', 'SIGQUIT']

/**
 * Watches a running engine until it ends, and ends it itself when it no longer answers: a frozen process keeps its
 * connections open and its callers waiting.
 * @param onEnd called once, unless `end` was called before
 */
export function superviseEngine(
  server: LlamaServer,
  { probeIntervalMs, probeTimeoutMs, clock }: SupervisionOptions,
  onEnd: (end: Pick<EngineExit, 'why' | 'description'>) => void,
): { end(): void } {
  let ended = false
  let frozen = false
  let cancelProbe = () => {}
  const scheduleProbe = () => {
    cancelProbe = clock.schedule(probeIntervalMs, () => void probe())
  }
  const probe = async () => {
    const alive = await server.isAlive(probeTimeoutMs)
    if (ended) return
    if (alive) return scheduleProbe()
    frozen = true
    await server.stop(0)
  }
  void server.exited.then(({ code, signal, lastLines }) => {
    cancelProbe()
    if (ended) return
    ended = true
    if (frozen)
      return onEnd({ why: 'killed', description: `did not answer for ${probeTimeoutMs} ms and was ended` })
    const why = signal !== undefined && SENT_SIGNALS.includes(signal) ? 'killed' : 'crashed'
    onEnd({ why, description: [signal ?? `exit code ${code}`, ...lastLines.slice(-3)].join('; ') })
  })
  scheduleProbe()
  return {
    end: () => {
      ended = true
      cancelProbe()
    },
  }
}
