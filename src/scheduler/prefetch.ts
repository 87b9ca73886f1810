import type { PrefetchPolicy } from './policy.ts'
import type { ModelSpec } from './state.ts'
import type { ClusterView } from './view.ts'

/**
 * The models to load now because they are expected to be asked for, the most worth it first. Each goes into free
 * memory, or over instances of less worth, which the caller evicts.
 */
export function choosePrefetches(_view: ClusterView, _policy: PrefetchPolicy): readonly ModelSpec[] {
  return []
}
