/** Statements whose labels are kept; this program has some two hundred. */
const STATEMENTS_MAX = 1_000

/** Series of a histogram cost a scrape a dozen lines each. */
const LABELS_MAX = 100

/** What a statement does with which table, `insert usage_records`: few values, however many statements there are. */
export class StatementLabels {
  // By the text itself: nearly all are constants, of which V8 keeps the hash.
  private readonly known = new Map<string, string>()
  private readonly labels = new Set<string>()

  of(sql: string): string {
    // With who it is for in its prelude, each organisation has a text of its own.
    if (sql.startsWith('begin')) return 'begin'
    return this.known.get(sql) ?? this.learn(sql)
  }

  private learn(sql: string): string {
    const label = statementLabel(sql)
    const bounded = this.labels.has(label) || this.labels.size < LABELS_MAX ? label : 'other'
    this.labels.add(bounded)
    if (this.known.size >= STATEMENTS_MAX) this.known.clear()
    this.known.set(sql, bounded)
    return bounded
  }
}

const CHANGE = /\b(insert)\s+into\s+(\w+)|\b(update)\s+(?:only\s+)?(\w+)\s|\b(delete)\s+from\s+(\w+)/i

/** A name that is no function, and not the `rows from` of one. */
const READ = /\bfrom\s+(?!rows\b|lateral\b)(\w+)\b(?!\s*\()/i

/** The first word and the first table; of a statement with several parts, the first change that it makes. */
export function statementLabel(sql: string): string {
  const word = /^\W*(\w+)/.exec(sql)?.[1]?.toLowerCase() ?? 'other'
  if (word === 'select') return named(word, READ.exec(sql)?.[1])
  if (!['with', 'insert', 'update', 'delete'].includes(word)) return word
  const found =
    CHANGE.exec(sql)
      ?.slice(1)
      .filter((part) => part !== undefined) ?? []
  const [change, table] = found
  return change === undefined ? named('select', READ.exec(sql)?.[1]) : named(change, table)
}

function named(word: string, table: string | undefined): string {
  return table === undefined ? word.toLowerCase() : `${word} ${table}`.toLowerCase()
}
