import { runCommand, type SystemUser } from '../../src/storage/run-command.ts'
import {
  type DebianPrograms,
  type Finding,
  fetchDebianPrograms,
  findDebianPrograms,
} from './debian-programs.ts'

/** The programs of Debian's PostgreSQL 15, the server's and the client's. */
export interface Postgresql15 {
  /** Holds `postgres`, `initdb`, `pg_basebackup` and the others. */
  readonly binaries: string
  /** What they need to run, beside the given user. */
  readonly environment: Readonly<Record<string, string>>
  /** Who runs them: root may not run a server. Undefined: this process's own user. */
  readonly user: SystemUser | undefined
}

export type FoundPostgresql15 = { readonly programs: Postgresql15 } | { readonly missing: string }

const POSTGRESQL_15: DebianPrograms = {
  name: 'postgresql-15',
  packages: ['postgresql-15', 'postgresql-client-15', 'libpq5'],
  place: 'usr/lib/postgresql/15/bin',
  wanted: ['postgres', 'initdb', 'pg_basebackup'],
  // For just-in-time compilation only, and larger than everything else together.
  unneeded: /^lib(llvm|perl|z3)/,
}

/** The installed one, or one that is fetched from the Debian mirror of this machine; or why there is none. */
export async function findPostgresql15(): Promise<FoundPostgresql15> {
  const user = await userForServers()
  return withUser(await findDebianPrograms(POSTGRESQL_15, user), user)
}

/** The one in that folder, fetched if it is not there. */
export async function fetchPostgresql15(
  root: string,
  user: SystemUser | undefined,
): Promise<FoundPostgresql15> {
  return withUser(await fetchDebianPrograms(root, POSTGRESQL_15, user), user)
}

function withUser(finding: Finding, user: SystemUser | undefined): FoundPostgresql15 {
  return 'found' in finding ? { programs: { ...finding.found, user } } : finding
}

/** Who runs servers here: root may not. */
export async function userForServers(): Promise<SystemUser | undefined> {
  if (process.getuid?.() !== 0) return undefined
  for (const name of ['postgres', 'nobody']) {
    const uid = await runCommand('id', ['-u', name])
    const gid = await runCommand('id', ['-g', name])
    if (uid.succeeded && gid.succeeded) return { name, uid: Number(uid.output), gid: Number(gid.output) }
  }
  return undefined
}
