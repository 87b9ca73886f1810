import type { Replica } from '../../contracts/pool.ts'

/** How long prompt and answer of each model can be together, whichever engine gets the request. */
export class ContextLengths {
  private readonly longest = new Map<string, number>()

  /** What is known of a model whose engines have all gone stays: one of them is loaded again. */
  replace(replicas: readonly Pick<Replica, 'model' | 'contextLength'>[]): void {
    const found = new Map<string, number>()
    // One that does not say may have a longer one than all others.
    for (const { model, contextLength = Number.POSITIVE_INFINITY } of replicas)
      found.set(model, Math.max(contextLength, found.get(model) ?? 0))
    for (const [model, length] of found) this.longest.set(model, length)
  }

  /** Undefined while nobody has said so. */
  of(model: string): number | undefined {
    const length = this.longest.get(model)
    return length === Number.POSITIVE_INFINITY ? undefined : length
  }
}
