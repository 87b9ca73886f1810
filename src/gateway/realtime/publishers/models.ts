import type { PoolClient } from '../../../contracts/pool.ts'
import type { Clock } from '../../../core/clock.ts'
import type { Publisher } from '../facts.ts'
import { publishChanges } from './repeat.ts'

const EVERY_MS = 1_000

/** The models that somebody may use, and what is loaded. Callers that may use others get others. */
export function modelsPublisher(pool: PoolClient, clock: Clock): Publisher {
  return {
    variant: ({ models }) => (models === undefined ? '' : JSON.stringify([...models].sort())),
    start: ({ identity: { models } }, publish) =>
      publishChanges(
        { clock, everyMs: EVERY_MS },
        async () => ({
          models: (await pool.listModels())
            .filter(({ name }) => models === undefined || models.includes(name))
            .map((model) => ({
              id: model.name,
              state: model.state,
              engine: model.engine,
              context_length: model.contextLength ?? null,
              memory_bytes: model.memoryBytes ?? null,
              in_flight: model.inFlight,
              unloads_at: model.unloadsAtMs ?? null,
            })),
        }),
        publish,
      ),
  }
}
