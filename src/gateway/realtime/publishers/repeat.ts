import type { Clock } from '../../../core/clock.ts'

/**
 * Looks now and again and again, one look after the other, and publishes what is not as it was. What cannot be found out
 * for a moment is looked for the next time. Returns what ends it.
 */
export function publishChanges(
  { clock, everyMs }: { readonly clock: Clock; readonly everyMs: number },
  look: () => Promise<object> | object,
  publish: (data: string) => void,
): () => void {
  let last = ''
  let stopped = false
  let cancel = () => {}
  const turn = async () => {
    const data = await Promise.resolve()
      .then(look)
      .then(JSON.stringify, () => last)
    if (stopped) return
    if (data !== last) publish(data)
    last = data
    cancel = clock.schedule(everyMs, turn)
  }
  void turn()
  return () => {
    stopped = true
    cancel()
  }
}
