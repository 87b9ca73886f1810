/** The files that a node's memory still holds, the least recently read giving way. */
export class PageCache {
  private readonly files = new Map<string, number>()
  private usedBytes = 0

  constructor(private readonly capacityBytes: number) {}

  get names(): readonly string[] {
    return [...this.files.keys()]
  }

  has(name: string): boolean {
    return this.files.has(name)
  }

  read(name: string, bytes: number): void {
    this.usedBytes -= this.files.get(name) ?? 0
    this.files.delete(name)
    if (bytes > this.capacityBytes) return
    this.files.set(name, bytes)
    this.usedBytes += bytes
    for (const [oldest, oldestBytes] of this.files) {
      if (this.usedBytes <= this.capacityBytes) break
      this.files.delete(oldest)
      this.usedBytes -= oldestBytes
    }
  }
}
