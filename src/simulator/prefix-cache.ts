/**
 * What an engine still holds of earlier prompts, as chained blocks: a block is of use only with all that come before
 * it. The least recently used goes first, and of one prompt its end before its beginning.
 */
export class PrefixCache {
  private readonly blocks = new Set<number>()

  constructor(private readonly blocksMax: number) {}

  /** Leading blocks of the prompt that are here. */
  matching(prompt: readonly number[]): number {
    let count = 0
    for (const block of prompt) {
      if (!this.blocks.has(block)) break
      count += 1
    }
    return count
  }

  add(prompt: readonly number[]): void {
    for (let place = prompt.length - 1; place >= 0; place -= 1) {
      const block = prompt[place]
      if (block === undefined) continue
      this.blocks.delete(block)
      this.blocks.add(block)
    }
    for (const oldest of this.blocks) {
      if (this.blocks.size <= this.blocksMax) break
      this.blocks.delete(oldest)
    }
  }
}
