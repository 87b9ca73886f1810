import type {
  KeptVector,
  NearVector,
  VectorPlace,
  VectorQuery,
  VectorStore,
  VectorSupport,
} from '../contracts/vector-store.ts'
import type { Clock } from '../core/clock.ts'
import { HelixError } from '../core/errors.ts'
import type { Database } from '../storage/database.ts'
import { PermitQueue } from '../storage/permit-queue.ts'
import { inOrganisation } from '../storage/tenancy.ts'
import { nearestVectors, putVector, removeVectors, trimPartition } from '../storage/vectors.ts'

export interface VectorsServiceOptions {
  readonly database: Database
  readonly clock: Clock
  readonly support: VectorSupport
  /** Of the database's pool. */
  readonly connectionsMax: number
  /** Of one partition. */
  readonly entriesMax: number
}

/**
 * Numbers in one partition: 10,000 vectors of 400, or 2,700 of 1,536. Comparing with all of them takes a few tens of
 * milliseconds; what takes longer than a gateway waits is never found.
 */
const NUMBERS_MAX = 2 ** 22

/** Of the connections: who asks whether a key is good must never wait for a cache. */
const CONNECTIONS_SHARE = 1 / 5
const WAITING_PER_CONNECTION = 25
/** About as long as a gateway waits. */
const TURN_TIMEOUT_MS = 100

/** Whoever was refused for that tries again after. */
const BUSY_MS = 100

/** Vectors in the database itself, for no replica has them. Whatever becomes of them, a few connections at most wait for it. */
export class VectorsService implements VectorStore {
  private readonly turns: PermitQueue

  constructor(private readonly options: VectorsServiceOptions) {
    const permits = Math.max(1, Math.floor(options.connectionsMax * CONNECTIONS_SHARE))
    this.turns = new PermitQueue({
      permits,
      waitingMax: permits * WAITING_PER_CONNECTION,
      timeoutMs: TURN_TIMEOUT_MS,
      clock: options.clock,
    })
  }

  async support(): Promise<VectorSupport> {
    return this.options.support
  }

  nearest(query: VectorQuery): Promise<readonly NearVector[]> {
    const { database, clock } = this.options
    return this.inTurn(() =>
      inOrganisation(database, query.organisationId, (queries) =>
        nearestVectors(queries, query, clock.now()),
      ),
    )
  }

  add(vector: KeptVector): Promise<void> {
    const { database, clock, entriesMax } = this.options
    return this.inTurn(() =>
      inOrganisation(database, vector.organisationId, async (queries) => {
        await putVector(queries, vector, clock.now())
        const fitting = Math.floor(NUMBERS_MAX / vector.direction.length)
        await trimPartition(queries, vector, Math.min(entriesMax, fitting))
      }),
    )
  }

  remove(place: VectorPlace, keys: readonly string[]): Promise<void> {
    const { database } = this.options
    return this.inTurn(() =>
      inOrganisation(database, place.organisationId, (queries) => removeVectors(queries, place, keys)),
    )
  }

  private async inTurn<Result>(work: () => Promise<Result>): Promise<Result> {
    const { support } = this.options
    if ('without' in support)
      throw new HelixError('not_implemented', `No vectors are kept here: ${support.without}.`)
    const done = await this.turns.acquire().catch((cause) => Promise.reject(busy(cause)))
    try {
      return await work()
    } finally {
      done()
    }
  }
}

function busy(cause: unknown): HelixError {
  const text = 'Too many look for vectors at the same time. Try again shortly.'
  return new HelixError('storage_unavailable', text, { cause, retryAfterMs: BUSY_MS })
}
