import type { Database, Queries } from './database.ts'

declare const scope: unique symbol

/** Statements that see the rows of one organisation, or of all where that was asked for by name. */
export interface TenantQueries extends Queries {
  readonly [scope]: true
}

/** A transaction that sees one organisation alone, whatever its statements say. @throws as `Database.transaction` */
export function inOrganisation<Result>(
  database: Database,
  organisationId: string,
  work: (queries: TenantQueries) => Promise<Result>,
): Promise<Result> {
  return scoped(database, organisationId, work)
}

/** A transaction that sees every organisation: for the platform's own upkeep. @throws as `Database.transaction` */
export function acrossOrganisations<Result>(
  database: Database,
  work: (queries: TenantQueries) => Promise<Result>,
): Promise<Result> {
  return scoped(database, '*', work)
}

function scoped<Result>(
  database: Database,
  organisation: string,
  work: (queries: TenantQueries) => Promise<Result>,
): Promise<Result> {
  return database.transaction(async (transaction) => {
    await transaction.query(`select set_config('helixflow.organisation', $1, true)`, [organisation])
    return work(transaction as TenantQueries)
  })
}
