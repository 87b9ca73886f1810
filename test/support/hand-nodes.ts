import type { NodeChange, NodeDirectory } from '../../src/pool/node-directory.ts'
import type { HandNode } from './hand-node.ts'

/** Nodes that come and go as the test says. */
export class HandNodes implements NodeDirectory {
  private readonly nodes = new Map<string, HandNode>()
  private tell: (change: NodeChange) => void = () => {}

  get(nodeId: string): HandNode | undefined {
    return this.nodes.get(nodeId)
  }

  all(): readonly HandNode[] {
    return [...this.nodes.values()]
  }

  watch(listener: (change: NodeChange) => void): () => void {
    this.tell = listener
    for (const nodeId of this.nodes.keys()) listener({ kind: 'joined', nodeId })
    return () => {}
  }

  join(node: HandNode): void {
    this.nodes.set(node.nodeId, node)
    this.tell({ kind: 'joined', nodeId: node.nodeId })
  }

  lose(nodeId: string): void {
    this.nodes.delete(nodeId)
    this.tell({ kind: 'lost', nodeId })
  }

  /** They are nobody's concern any more; what they run goes on. */
  forget(): void {
    this.nodes.clear()
  }
}
