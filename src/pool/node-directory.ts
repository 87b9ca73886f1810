import type { NodeClient } from '../contracts/node.ts'

export interface NodeChange {
  readonly kind: 'joined' | 'lost'
  readonly nodeId: string
}

/** The nodes that are there now. One that comes back after it was lost is another client under the same id. */
export interface NodeDirectory {
  get(nodeId: string): NodeClient | undefined
  all(): readonly NodeClient[]
  /** Calls back for each change from now on. Returns what ends the watch. */
  watch(listener: (change: NodeChange) => void): () => void
}

/** The directory of a machine that is alone. */
export function oneNode(node: NodeClient): NodeDirectory {
  return {
    get: (nodeId) => (nodeId === node.nodeId ? node : undefined),
    all: () => [node],
    watch: () => () => {},
  }
}
