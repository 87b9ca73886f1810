/** What a list needs of its members: they carry their own links, so that moving one allocates nothing. */
export interface Listed<Entry extends Listed<Entry>> {
  bytes: number
  /** Where it is; `undefined` once it has been removed. */
  list: RecencyList<Entry> | undefined
  newer: Entry | undefined
  older: Entry | undefined
}

/** Entries from the oldest to the newest, and how many bytes they are. */
export class RecencyList<Entry extends Listed<Entry>> {
  oldest: Entry | undefined
  bytes = 0
  private newest: Entry | undefined

  push(entry: Entry): void {
    entry.list = this
    entry.older = this.newest
    if (this.newest) this.newest.newer = entry
    else this.oldest = entry
    this.newest = entry
    this.bytes += entry.bytes
  }

  remove(entry: Entry): void {
    const { newer, older } = entry
    if (newer) newer.older = older
    else this.newest = older
    if (older) older.newer = newer
    else this.oldest = newer
    entry.list = entry.newer = entry.older = undefined
    this.bytes -= entry.bytes
  }
}
