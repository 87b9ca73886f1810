import { randomBytes } from 'node:crypto'
import type { Silence, SilenceRequest } from '../contracts/monitor.ts'
import type { Clock } from '../core/clock.ts'
import { HelixError } from '../core/errors.ts'
import type { Database } from '../storage/database.ts'
import { dropOldSilences, endSilence, insertSilence, listSilences } from '../storage/silences.ts'

/** A silence that lasts longer is a rule that nobody wants. */
const LENGTH_MAX_MS = 366 * 24 * 3_600_000
const MATCHERS_MAX = 20
const TEXT_MAX = 1_000
/** How long it is known who was told nothing, and why. */
const KEPT_MS = 90 * 24 * 3_600_000

/** Alerts that nobody is told of for a time: behind `MonitorClient.silences`, `silence` and `unsilence`. */
export class Silences {
  constructor(
    private readonly database: Database,
    private readonly clock: Clock,
  ) {}

  /** Those that have not ended. @throws HelixError `storage_unavailable` */
  list(): Promise<readonly Silence[]> {
    return listSilences(this.database, this.clock.now())
  }

  /** @throws HelixError `invalid_value`, `storage_unavailable` */
  async add(request: SilenceRequest): Promise<Silence> {
    const nowMs = this.clock.now()
    check(request, nowMs)
    const silence = { ...request, id: `silence_${randomBytes(9).toString('hex')}`, createdAtMs: nowMs }
    await insertSilence(this.database, silence)
    await dropOldSilences(this.database, nowMs - KEPT_MS)
    return silence
  }

  /** @throws HelixError `not_found`, `storage_unavailable` */
  async end(id: string): Promise<void> {
    if (await endSilence(this.database, { id, nowMs: this.clock.now() })) return
    throw new HelixError('not_found', 'There is no such silence, or it has ended.')
  }
}

/** One that fits everything would hide the alert that matters: it has to name something. */
function check({ matchers, untilMs, reason, by }: SilenceRequest, nowMs: number): void {
  const labels = Object.entries(matchers)
  const refuse = (param: string, text: string) => {
    throw new HelixError('invalid_value', text, { param })
  }
  if (labels.length === 0 || labels.length > MATCHERS_MAX)
    refuse('matchers', `Name 1 to ${MATCHERS_MAX} labels, such as alert.`)
  for (const [name, value] of labels) {
    if (!/^[a-z_][a-z0-9_]{0,62}$/.test(name)) refuse('matchers', `'${name}' is no label.`)
    if (value.length > TEXT_MAX) refuse('matchers', `The value of '${name}' is too long.`)
  }
  if (!(untilMs > nowMs && untilMs <= nowMs + LENGTH_MAX_MS))
    refuse('untilMs', 'A silence ends in the future, and within a year.')
  if (reason.trim() === '' || reason.length > TEXT_MAX) refuse('reason', 'Say why, in 1 to 1,000 characters.')
  if (by.length > TEXT_MAX) refuse('by', 'This name is too long.')
}
