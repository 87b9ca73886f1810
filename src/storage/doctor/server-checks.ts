import { EXTENSIONS, findExtensions } from '../extensions.ts'
import { countsStatements, HOW_TO_COUNT } from '../slow-statements.ts'
import { findVectorTable } from '../vector-table.ts'
import { advice, type Check, ok, one, problem } from './check.ts'

const VERSION_MIN = 14

const version: Check = {
  name: 'version',
  run: async (database) => {
    const { text, number } = await one<{ text: string; number: number }>(
      database,
      `select current_setting('server_version') as text, current_setting('server_version_num')::integer as number`,
    )
    if (number >= VERSION_MIN * 10_000) return ok(`PostgreSQL ${text}`)
    return problem(
      `PostgreSQL ${text} is older than ${VERSION_MIN}, which HelixFlow is tested with.`,
      'Update the server.',
    )
  },
}

const extensions: Check = {
  name: 'extensions',
  run: async (database) => {
    const states = await findExtensions(database)
    const missing = states.filter(({ version }) => version === undefined)
    const outcomes = missing.map(({ name, available }) => {
      const purpose = EXTENSIONS.find((one) => one.name === name)?.purpose
      const text = `${name} is missing (for ${purpose}).`
      return available
        ? advice(text, `As a superuser, in this database: create extension ${name};`)
        : advice(text, "Install the server's contrib package, then: create extension ...;")
    })
    const created = states.some(({ name, version }) => name === 'pg_stat_statements' && version !== undefined)
    if (created && !(await countsStatements(database)))
      outcomes.push(advice('pg_stat_statements is created but counts nothing.', HOW_TO_COUNT))
    if (outcomes.length > 0) return outcomes
    return ok(states.map(({ name, version }) => `${name} ${version}`).join(', '))
  },
}

/** Nobody needs it who has one gateway, so that a server without it is as well as another. */
const vectors: Check = {
  name: 'vectors',
  run: async (database) => {
    const { version, available, hasTable } = await findVectorTable(database)
    const create = 'As a superuser, in this database: create extension vector; Then start HelixFlow again.'
    if (version !== undefined && hasTable)
      return ok(`pgvector ${version}: several gateways can share one index of the semantic cache`)
    if (version !== undefined)
      return advice(
        `pgvector ${version} is created, and there is no table for vectors.`,
        'Start HelixFlow again; if it is refused, the log says why.',
      )
    if (available)
      return advice(
        'pgvector is on the server and not created in this database: each gateway has its own index of the semantic cache.',
        create,
      )
    return ok(
      `none: each gateway has its own index of the semantic cache. For a shared one, install pgvector on the server. ${create}`,
    )
  },
}

const durability: Check = {
  name: 'durability',
  run: async (database) => {
    const settings = await one<Record<(typeof DURABLE)[number]['setting'], string>>(
      database,
      `select ${DURABLE.map(({ setting }) => `current_setting('${setting}') as ${setting}`).join(', ')}`,
    )
    const outcomes = DURABLE.filter(({ setting }) => settings[setting] === 'off').map(
      ({ setting, judge, costs, remedy }) => judge(`${setting} is off: ${costs}.`, remedy),
    )
    return outcomes.length > 0 ? outcomes : ok(DURABLE.map(({ setting }) => `${setting} on`).join(', '))
  },
}

const DURABLE = [
  {
    setting: 'fsync',
    judge: problem,
    costs: 'a power failure may destroy the whole database',
    remedy: 'Set fsync = on and reload the server.',
  },
  {
    setting: 'full_page_writes',
    judge: problem,
    costs: 'a power failure may tear pages apart',
    remedy: 'Set full_page_writes = on and reload the server.',
  },
  {
    setting: 'synchronous_commit',
    judge: advice,
    costs: 'a crash loses what was confirmed in the last moments, revocations of keys included',
    remedy: 'Set synchronous_commit = on and reload the server.',
  },
  {
    setting: 'data_checksums',
    judge: advice,
    costs: 'a page that the disk has changed is not noticed',
    remedy: 'Stop the server and run: pg_checksums --enable',
  },
] as const

const language: Check = {
  name: 'time and text',
  run: async (database) => {
    const { zone, encoding } = await one<{ zone: string; encoding: string }>(
      database,
      `select current_setting('TimeZone') as zone, current_setting('server_encoding') as encoding`,
    )
    const outcomes = []
    if (encoding !== 'UTF8') {
      const remedy = "Make the database again: create database ... encoding 'UTF8' template template0;"
      outcomes.push(problem(`The database stores ${encoding}, which has not every character.`, remedy))
    }
    if (!UTC.includes(zone)) {
      const remedy = "alter database ... set timezone to 'UTC';"
      outcomes.push(advice(`The time zone is ${zone}: days of reports begin there, not in UTC.`, remedy))
    }
    return outcomes.length > 0 ? outcomes : ok(`time zone ${zone}, encoding ${encoding}`)
  },
}

const UTC: readonly string[] = ['UTC', 'Etc/UTC', 'GMT', 'Etc/GMT', 'Universal', 'Zulu', 'Etc/UCT', 'UCT']

const role: Check = {
  name: 'role',
  run: async (database) => {
    const { name, above, owned, secured } = await one<{
      name: string
      above: boolean
      owned: number
      secured: number
    }>(
      database,
      `select current_user as name, rolsuper or rolbypassrls as above,
              (select count(*)::integer from pg_class
               where relrowsecurity and not relforcerowsecurity and relowner = pg_roles.oid) as owned,
              (select count(*)::integer from pg_class where relrowsecurity) as secured
       from pg_roles where rolname = current_user`,
    )
    const remedy = 'Give HelixFlow a role of its own: create role ... login nosuperuser nobypassrls;'
    if (above) {
      const judge = secured > 0 ? problem : advice
      return judge(`${name} is above row-level security: it would not keep tenants apart.`, remedy)
    }
    if (owned > 0)
      return problem(
        `${name} owns ${owned} tables whose row-level security does not hold for their owner.`,
        'alter table ... force row level security;',
      )
    return ok(`${name}, under row-level security (${secured} tables)`)
  },
}

export const SERVER_CHECKS: readonly Check[] = [version, extensions, vectors, durability, language, role]
