import { ExactIndex } from '../../cache/semantic/exact-index.ts'
import { StoredIndex } from '../../cache/semantic/stored-index.ts'
import type { VectorIndex } from '../../cache/semantic/vector-index.ts'
import { supportOf } from '../../cache/semantic/vector-support.ts'
import type { VectorStore, VectorSupport } from '../../contracts/vector-store.ts'
import type { Clock } from '../../core/clock.ts'
import type { Logger } from '../../core/log.ts'

export interface IndexQuestion {
  readonly store: VectorStore
  /** Gateways share answers. */
  readonly sharesAnswers: boolean
  /** A rule of the cache asks for likeness. */
  readonly isWanted: boolean
  readonly clock: Clock
  readonly log: Logger
}

/** Where vectors are kept, and in words for whoever looks after it. */
export interface ChosenIndex {
  readonly index: VectorIndex
  readonly kept: string
}

/** Questions that are compared with a new one, and the memory that all of them may take. */
const MEMORY_ENTRIES_MAX = 1_024
const MEMORY_BYTES_MAX = 32 * 2 ** 20

/** Little beside the making of an embedding, and much more than the largest partition takes. */
const LOOK_UP_TIMEOUT_MS = 150

/**
 * The index that all gateways share, where there is one and answers are shared too: a vector that outlives its answer, or
 * leads to one that lies in the memory of another gateway, finds nothing and only pushes others out.
 */
export async function chooseIndex(question: IndexQuestion): Promise<ChosenIndex> {
  const chosen = indexOf(await sharedSupport(question), question)
  if (question.isWanted) question.log.info('index of the semantic cache chosen', { kept: chosen.kept })
  return chosen
}

function indexOf(support: VectorSupport, { store, clock, log }: IndexQuestion): ChosenIndex {
  if ('with' in support) {
    const index = new StoredIndex({ store, timeoutMs: LOOK_UP_TIMEOUT_MS, clock, log })
    return { index, kept: `${support.with}, shared by all gateways` }
  }
  const index = new ExactIndex({ entriesMax: MEMORY_ENTRIES_MAX, bytesMax: MEMORY_BYTES_MAX, clock })
  return { index, kept: `the memory of this gateway (${support.without})` }
}

async function sharedSupport({
  store,
  sharesAnswers,
  isWanted,
  clock,
}: IndexQuestion): Promise<VectorSupport> {
  if (!isWanted) return { without: 'no rule of the cache is semantic' }
  if (!sharesAnswers) return { without: 'answers are not shared either: redis.urls is not set' }
  return supportOf(store, clock)
}
