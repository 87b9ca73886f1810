/** The name of a piece of a prompt together with all that comes before it, so that equal names mean equal beginnings. */
export type BlockHash = string | number

/**
 * What each replica probably still has of prompts that it has read: a mirror of its memory, least recently used first out,
 * made of what was sent there. The engine may know better; nothing depends on it but where a request goes.
 */
export class PrefixIndex<Hash extends BlockHash> {
  private readonly kept = new Map<string, Set<Hash>>()

  /** How many of the first blocks it has in one piece. */
  hits(replicaId: string, blocks: readonly Hash[]): number {
    const kept = this.kept.get(replicaId)
    if (!kept) return 0
    const missing = blocks.findIndex((block) => !kept.has(block))
    return missing < 0 ? blocks.length : missing
  }

  /** The replica reads these. @param blocksMax what there is room for */
  note(replicaId: string, blocks: readonly Hash[], blocksMax: number): void {
    const kept = this.kept.get(replicaId) ?? new Set<Hash>()
    this.kept.set(replicaId, kept)
    // From the end: a beginning must not go before what follows it, which is worth nothing without.
    for (let at = Math.min(blocks.length, blocksMax) - 1; at >= 0; at--) {
      const block = blocks[at]
      if (block === undefined) continue
      kept.delete(block)
      kept.add(block)
    }
    for (const oldest of kept) {
      if (kept.size <= blocksMax) break
      kept.delete(oldest)
    }
  }

  /** The replica is gone, and its memory with it. */
  forget(replicaId: string): void {
    this.kept.delete(replicaId)
  }
}
