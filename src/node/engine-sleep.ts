import { type Clock, delay } from '../core/clock.ts'
import { HelixError } from '../core/errors.ts'
import type { Engine } from '../engines/engine.ts'

export interface SleepOptions {
  /** Bytes that are taken on the engine's devices, by whomever; undefined where they do not say. */
  readonly usedBytes: () => Promise<number | undefined>
  /** What must come free for it to be worth while: less than the weights. */
  readonly freedBytesMin: number
  readonly timeoutMs: number
  readonly clock: Clock
}

/** Devices tell what is free a moment later than it is. */
const POLL_MS = 100

/**
 * Has an engine give back its devices' memory and keep its model in the machine's own. What it says of that is not
 * believed: one that said yes and held on has been seen in more than one release of vLLM. Unless the devices show that
 * memory came free, the engine is ended, which frees it for certain.
 * @returns whether it sleeps; it has ended when it does not
 */
export async function putToSleep(engine: Engine, options: SleepOptions): Promise<boolean> {
  const { clock, timeoutMs, freedBytesMin, usedBytes } = options
  const before = await usedBytes()
  if (!engine.sleeping || before === undefined) return endInstead(engine)
  const deadlineMs = clock.monotonic() + timeoutMs
  try {
    await engine.sleeping.sleep(timeoutMs)
  } catch (cause) {
    if (!(cause instanceof HelixError)) throw cause
    return endInstead(engine)
  }
  for (;;) {
    const after = await usedBytes()
    if (after !== undefined && before - after >= freedBytesMin) return true
    if (clock.monotonic() >= deadlineMs) return endInstead(engine)
    await delay(clock, POLL_MS)
  }
}

/**
 * Wakes it, and has it generate before anybody relies on it: weights may come back as nonsense, or not all of them.
 * @returns whether it works; it has ended when it does not
 */
export async function wakeUp(engine: Engine, timeoutMs: number): Promise<boolean> {
  try {
    await engine.sleeping?.wake(timeoutMs)
  } catch (cause) {
    if (!(cause instanceof HelixError)) throw cause
    return endInstead(engine)
  }
  return (await engine.isWorking(timeoutMs)) || endInstead(engine)
}

async function endInstead(engine: Engine): Promise<false> {
  await engine.stop(0)
  return false
}
