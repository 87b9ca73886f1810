import type { NodeClient } from '../contracts/node.ts'
import type { NodeView } from '../contracts/pool-service.ts'
import type { Clock } from '../core/clock.ts'
import { HelixError } from '../core/errors.ts'
import type { Logger } from '../core/log.ts'
import type { NodeChange, NodeDirectory } from './node-directory.ts'

export interface NodesParts {
  /** A client for the node that answers there. */
  readonly connect: (report: NodeReport) => ClosableNode
  readonly clock: Clock
  readonly log: Logger
}

/** A node says that it is there. */
export interface NodeReport {
  readonly nodeId: string
  /** Another one for each start of the node: what an earlier process ran went with it. */
  readonly incarnation: string
  readonly rpcUrl: string
}

export type ClosableNode = NodeClient & { close(): Promise<void> }

/** Three reports that did not come: a node that stands still that long is of no use to anybody. */
const LOST_AFTER_MS = 3_000

/** Which nodes there are, by what they say of themselves each second. */
export class Nodes implements NodeDirectory {
  private readonly present = new Map<string, PresentNode>()
  private readonly listeners = new Set<(change: NodeChange) => void>()

  constructor(private readonly parts: NodesParts) {}

  get(nodeId: string): NodeClient | undefined {
    return this.present.get(nodeId)?.client
  }

  all(): readonly NodeClient[] {
    return [...this.present.values()].map(({ client }) => client)
  }

  watch(listener: (change: NodeChange) => void): () => void {
    this.listeners.add(listener)
    for (const nodeId of this.present.keys()) listener({ kind: 'joined', nodeId })
    return () => this.listeners.delete(listener)
  }

  list(): readonly NodeView[] {
    const nowMs = this.parts.clock.monotonic()
    return [...this.present.values()].map(({ report, joinedAtMs, heardMs }) => ({
      ...{ id: report.nodeId, rpcUrl: report.rpcUrl, joinedAtMs, silentMs: nowMs - heardMs },
    }))
  }

  /**
   * A node that is new joins, one that is there stays.
   * @throws HelixError `conflict` when another machine that is there has the same id
   */
  report(report: NodeReport): void {
    const { nodeId, incarnation, rpcUrl } = report
    const known = this.present.get(nodeId)
    if (known?.report.incarnation === incarnation) {
      known.heardMs = this.parts.clock.monotonic()
      this.expectNext(known)
      return
    }
    if (known && known.report.rpcUrl !== rpcUrl) {
      throw new HelixError(
        'conflict',
        `Another node is called '${nodeId}' already, at ${known.report.rpcUrl}. Give this one another rpc.nodeId.`,
      )
    }
    if (known) this.lose(known, 'it began anew')
    this.join(report)
  }

  /** A node goes in order, and its engines with it. */
  leave(nodeId: string, incarnation: string): void {
    const known = this.present.get(nodeId)
    if (known?.report.incarnation === incarnation) this.lose(known, 'it said so')
  }

  /** Leaves all nodes to whoever leads next: what they run goes on. */
  async stop(): Promise<void> {
    this.listeners.clear()
    const nodes = [...this.present.values()]
    this.present.clear()
    for (const { cancel } of nodes) cancel()
    await Promise.all(nodes.map(({ client }) => client.close()))
  }

  private join(report: NodeReport): void {
    const { clock, log } = this.parts
    const client = this.parts.connect(report)
    const node: PresentNode = {
      ...{ report, client, joinedAtMs: clock.now(), heardMs: clock.monotonic(), cancel: () => {} },
    }
    this.present.set(report.nodeId, node)
    this.expectNext(node)
    log.info('node joined', { node: report.nodeId, url: report.rpcUrl })
    this.tell({ kind: 'joined', nodeId: report.nodeId })
  }

  private expectNext(node: PresentNode): void {
    node.cancel()
    node.cancel = this.parts.clock.schedule(LOST_AFTER_MS, () => this.lose(node, 'it was not heard'))
  }

  private lose(node: PresentNode, because: string): void {
    const { nodeId } = node.report
    node.cancel()
    this.present.delete(nodeId)
    // Whatever is asked of it would never be answered.
    void node.client.close()
    this.parts.log.warn('node lost', { node: nodeId, because })
    this.tell({ kind: 'lost', nodeId })
  }

  private tell(change: NodeChange): void {
    for (const listener of [...this.listeners]) listener(change)
  }
}

interface PresentNode {
  readonly report: NodeReport
  readonly client: ClosableNode
  readonly joinedAtMs: number
  heardMs: number
  cancel: () => void
}
