import type { Clock } from '../../../core/clock.ts'
import type { Topics } from '../../../streams/topics.ts'
import type { Publisher } from '../facts.ts'
import { countedTopic } from '../topic-rules.ts'
import { publishChanges } from './repeat.ts'

const EVERY_MS = 1_000

/** How many connections follow a topic of clients, at all gateways. */
export function presencePublisher(topics: Topics, clock: Clock): Publisher {
  return {
    start: ({ identity: { organisationId, projectId }, topic }, publish) =>
      publishChanges(
        { clock, everyMs: EVERY_MS },
        async () => {
          const counted = countedTopic(topic)
          return {
            topic: counted,
            connections: await topics.presence(`${organisationId}/${projectId}`, counted),
          }
        },
        publish,
      ),
  }
}
