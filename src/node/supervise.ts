import type { EngineExit } from '../contracts/node.ts'
import { type Clock, delay } from '../core/clock.ts'
import type { Engine } from '../engines/engine.ts'

export interface SupervisionOptions {
  readonly probeIntervalMs: number
  readonly probeTimeoutMs: number
  /** For the generating loop: longer than any one batch takes. */
  readonly stuckTimeoutMs: number
  readonly clock: Clock
}

/** The end of a process is known within this time. */
const EXIT_NOTICE_MS = 1_000

/** Signals that somebody sends; all others come from the program's own failure. */
const SENT_SIGNALS: readonly string[] = ['SIGKILL', 'SIGTERM', 'SIGINT', 'SIGHUP', 'SIGQUIT']

/**
 * Watches a running engine until it ends, and ends it itself when it no longer answers: a frozen process keeps its
 * connections open and its callers waiting.
 * @param onEnd called once, unless `end` was called before
 */
export function superviseEngine(
  server: Engine,
  { probeIntervalMs, probeTimeoutMs, stuckTimeoutMs, clock }: SupervisionOptions,
  onEnd: (end: Pick<EngineExit, 'why' | 'description'>) => void,
): { end(): void } {
  let ended = false
  let replacedBecause: string | undefined
  const cancels = new Map<string, () => void>()
  const watch = (probe: (timeoutMs: number) => Promise<boolean>, timeoutMs: number, failure: string) => {
    const ask = async () => {
      const well = await probe(timeoutMs)
      // A process that just ended refuses connections before its end is known here; that is no silence.
      if (!well) await Promise.race([server.exited, delay(clock, EXIT_NOTICE_MS)])
      if (ended || replacedBecause) return
      if (well) return schedule()
      replacedBecause = `${failure} for ${timeoutMs} ms and was ended`
      await server.stop(0)
    }
    const schedule = () => {
      cancels.set(
        failure,
        clock.schedule(probeIntervalMs, () => void ask()),
      )
    }
    schedule()
  }
  watch((timeoutMs) => server.isAlive(timeoutMs), probeTimeoutMs, 'did not answer')
  watch((timeoutMs) => server.isWorking(timeoutMs), stuckTimeoutMs, 'generated nothing')
  const end = () => {
    ended = true
    for (const cancel of cancels.values()) cancel()
  }
  void server.exited.then(({ code, signal, lastLines }) => {
    if (ended) return
    end()
    if (replacedBecause) return onEnd({ why: 'killed', description: replacedBecause })
    const why = signal !== undefined && SENT_SIGNALS.includes(signal) ? 'killed' : 'crashed'
    onEnd({ why, description: [signal ?? `exit code ${code}`, ...lastLines.slice(-3)].join('; ') })
  })
  return { end }
}
