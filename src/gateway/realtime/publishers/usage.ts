import type { Clock } from '../../../core/clock.ts'
import type { Publisher } from '../facts.ts'
import type { UsageMinutes } from '../usage-minutes.ts'
import { publishChanges } from './repeat.ts'

const EVERY_MS = 1_000

/** What the caller's project used in this minute, at this gateway. */
export function usagePublisher(minutes: UsageMinutes, clock: Clock): Publisher {
  return {
    start: ({ identity: { organisationId, projectId } }, publish) =>
      publishChanges(
        { clock, everyMs: EVERY_MS },
        () => ({ project: projectId, ...minutes.of(`${organisationId}/${projectId}`) }),
        publish,
      ),
  }
}
