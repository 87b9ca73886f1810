import type { ClusterState, ModelHistory } from './state.ts'

type Histories = ClusterState['models']

/**
 * The histories with those of some models changed or new. Copied into an object without a prototype, name by name: of a
 * thousand models that is eight times as fast as spreading, and no model's name means anything to it.
 */
export function withHistories(models: Histories, changed: ReadonlyMap<string, ModelHistory>): Histories {
  const next = noHistories()
  for (const name in models) {
    const history = models[name]
    if (history) next[name] = history
  }
  for (const [name, history] of changed) next[name] = history
  return next
}

/** The histories in a list, made once for each value: most decisions come between two changes of them. */
export function historiesOf(models: Histories): readonly ModelHistory[] {
  const known = remembered.get(models)
  if (known) return known
  const histories: ModelHistory[] = []
  for (const name in models) {
    const history = models[name]
    if (history) histories.push(history)
  }
  remembered.set(models, histories)
  return histories
}

const remembered = new WeakMap<Histories, readonly ModelHistory[]>()

/** To be filled while it is made. */
export function noHistories(): Record<string, ModelHistory> {
  return Object.create(null)
}
