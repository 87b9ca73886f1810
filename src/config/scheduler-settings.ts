import { z } from 'zod'
import { duration } from './quantities.ts'

const share = z.number().min(0).max(1)

/** How the pool decides where models live. */
export const SchedulerSettings = z.strictObject({
  strategy: z
    .enum(['auto', 'best-fit', 'first-fit', 'least-loaded', 'round-robin'])
    .default('auto')
    .describe('Where a model goes among the devices with room; auto: where it costs the fewest seconds.'),
  eviction: z
    .enum(['gdsf', 'lru'])
    .default('gdsf')
    .describe(
      'What goes to make room: what is cheap to load again for its size, or what was not used longest.',
    ),
  residencyMin: duration()
    .prefault('5s')
    .describe(
      'A model that was just loaded is not evicted for this long, unless it has served somebody and another one waits longer than swapWait.',
    ),
  swapWait: duration()
    .prefault('2s')
    .describe(
      'A model that is busy makes room for another one only after that has waited this long, so that models do not take turns for each request.',
    ),
  defragment: z
    .boolean()
    .default(true)
    .describe(
      'Move models to other devices when that alone makes room for one that waits, and with auto so that devices compute evenly.',
    ),
  defragmentMovesMax: z.int().min(1).max(8).default(3).describe('Moves of one such plan.'),
  prefetch: z
    .boolean()
    .default(true)
    .describe('Load models before they are asked for, when the time of the week and the last hours say so.'),
  prefetchWasteMax: share
    .default(0.1)
    .describe('Share of the time spent loading that prefetches in vain may take.'),
  prefetchPrecisionMin: share
    .default(0.5)
    .describe('Below this share of useful prefetches in a day none are made until it recovers.'),
  replicaBusyMax: share
    .default(0.8)
    .describe('Share of the slots of all replicas in use above which another replica is loaded.'),
  replicaIdle: duration()
    .prefault('2m')
    .describe('How long a replica must have been too many before it goes.'),
  fairness: z
    .enum(['tokens', 'arrival'])
    .default('tokens')
    .describe(
      'Who of those that wait is next: projects by the tokens that they had, or the first that came, whatever its service_tier.',
    ),
  groups: z
    .record(z.string().regex(/^[a-z0-9][a-z0-9-]{0,62}$/), z.array(z.string().min(1)).min(1))
    .default({})
    .describe(
      'Devices kept for groups of models, by ids of devices or nodes: {batch: [GPU-1a2b, node-b]}; models join one in models.perModel.',
    ),
})
