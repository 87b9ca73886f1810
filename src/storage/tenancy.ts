import { HelixError } from '../core/errors.ts'
import type { Database, Queries, TransactionOptions } from './database.ts'

declare const scope: unique symbol

/**
 * Statements that see the rows of one organisation, or of all where that was asked for by name. Functions of tables
 * that belong to tenants take these, so that the compiler refuses a bare connection.
 */
export interface TenantQueries extends Queries {
  readonly [scope]: true
}

/**
 * A transaction that sees one organisation alone, whatever its statements say: row-level security is the second wall
 * behind their own conditions.
 * @throws HelixError as `Database.transaction`
 */
export function inOrganisation<Result>(
  database: Database,
  organisationId: string,
  work: (queries: TenantQueries) => Promise<Result>,
  options?: TransactionOptions,
): Promise<Result> {
  return scoped(database, checked(organisationId), work, options)
}

/** As `inOrganisation`, for what changes nothing: a replica may answer. */
export function readInOrganisation<Result>(
  database: Database,
  organisationId: string,
  work: (queries: TenantQueries) => Promise<Result>,
): Promise<Result> {
  return database.readTransaction((transaction) => work(transaction as TenantQueries), {
    prelude: scopeStatement(checked(organisationId)),
  })
}

/** A transaction that sees every organisation: for finding out who calls, and for the platform's own upkeep. */
export function acrossOrganisations<Result>(
  database: Database,
  work: (queries: TenantQueries) => Promise<Result>,
  options?: TransactionOptions,
): Promise<Result> {
  return scoped(database, '*', work, options)
}

/**
 * Inside a transaction of one organisation: what `work` does sees all of them. For what is shared by nature, such as
 * a person who belongs to several.
 */
export async function widened<Result>(
  queries: TenantQueries,
  organisationId: string,
  work: () => Promise<Result>,
): Promise<Result> {
  const setScope = (to: string) =>
    queries.query(`select set_config('helixflow.organisation', $1, true)`, [to])
  await setScope('*')
  const result = await work()
  await setScope(organisationId)
  return result
}

function scoped<Result>(
  database: Database,
  organisation: string,
  work: (queries: TenantQueries) => Promise<Result>,
  options?: TransactionOptions,
): Promise<Result> {
  return database.transaction((transaction) => work(transaction as TenantQueries), {
    ...options,
    prelude: scopeStatement(organisation),
  })
}

/** For this transaction only: the connection goes back without it, also through a pooler such as pgbouncer. */
function scopeStatement(organisation: string): string {
  return `set local helixflow.organisation = '${organisation}'`
}

/** What becomes part of a statement's text. */
function checked(organisationId: string): string {
  if (/^[a-z]+_[0-9A-Za-z]+$/.test(organisationId)) return organisationId
  throw new HelixError('not_found', 'There is no such organisation.')
}
