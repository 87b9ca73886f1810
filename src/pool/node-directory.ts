import type { NodeClient } from '../contracts/node.ts'

/** The nodes that there are. They come and go; one that is lost is not asked for anything. */
export interface NodeDirectory {
  get(nodeId: string): NodeClient | undefined
  all(): readonly NodeClient[]
  /** Calls back at once for each node that is there, and for each change. Returns what ends the watch. */
  watch(listener: (change: NodeChange) => void): () => void
}

export interface NodeChange {
  readonly kind: 'joined' | 'lost'
  readonly nodeId: string
}

/** The one node of a machine that has everything in one process: it is there as long as we are. */
export function localNode(node: NodeClient): NodeDirectory {
  return {
    get: (nodeId) => (nodeId === node.nodeId ? node : undefined),
    all: () => [node],
    watch: (listener) => {
      listener({ kind: 'joined', nodeId: node.nodeId })
      return () => {}
    },
  }
}
