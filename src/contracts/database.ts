/** What an operator may ask about the database; nothing of it changes anything. */
export interface DatabaseAdministration {
  /** @throws HelixError `storage_unavailable` */
  doctor(request: { readonly memoryBytes: number | undefined }): Promise<readonly DatabaseFinding[]>
  /** @throws HelixError `invalid_configuration` where the server does not count; `storage_unavailable` */
  queries(request: { readonly sort: StatementOrder; readonly limit: number }): Promise<SlowStatements>
  /** @throws HelixError `storage_unavailable` */
  migrations(): Promise<MigrationState>
}

export interface DatabaseFinding {
  /** What was examined. */
  readonly name: string
  /** `advice` costs speed or comfort; `problem` may cost data, privacy or the service. */
  readonly level: 'ok' | 'advice' | 'problem'
  readonly text: string
  readonly remedy?: string | undefined
}

export const STATEMENT_ORDERS = ['total', 'mean', 'calls'] as const
export type StatementOrder = (typeof STATEMENT_ORDERS)[number]
export const STATEMENTS_MAX = 1_000

export interface SlowStatements {
  /** Since when they are counted. */
  readonly sinceMs: number
  readonly statements: readonly {
    /** Without its values. */
    readonly statement: string
    readonly calls: number
    readonly totalMs: number
    readonly meanMs: number
    readonly maxMs: number
    readonly rows: number
    /** Of the pages it needed, the share that was in memory; undefined when it needed none. */
    readonly hitRatio: number | undefined
  }[]
}

export interface MigrationState {
  /** Files of this program that the database has not seen, in their order. */
  readonly pending: readonly string[]
  /** Applied by another version of HelixFlow. */
  readonly foreign: readonly string[]
  readonly appliedCount: number
}
