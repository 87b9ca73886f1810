import { readFileSync } from 'node:fs'
import { readdir } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { silentLog } from '../../../src/core/log.ts'
import * as accounts from '../../../src/storage/accounts.ts'
import * as audit from '../../../src/storage/audit.ts'
import * as budgetUse from '../../../src/storage/budget-use.ts'
import { type Database, openDatabase, type Queries } from '../../../src/storage/database.ts'
import type { EmbeddedPostgres } from '../../../src/storage/embedded-postgres.ts'
import * as identities from '../../../src/storage/external-identities.ts'
import * as history from '../../../src/storage/history.ts'
import * as answers from '../../../src/storage/idempotent-answers.ts'
import * as keys from '../../../src/storage/keys.ts'
import * as kpis from '../../../src/storage/kpis.ts'
import * as limitRules from '../../../src/storage/limit-rules.ts'
import * as memberships from '../../../src/storage/memberships.ts'
import { migrate } from '../../../src/storage/migrate.ts'
import * as monitorStates from '../../../src/storage/monitor-states.ts'
import * as notifications from '../../../src/storage/notifications.ts'
import * as responses from '../../../src/storage/responses.ts'
import * as serviceAccounts from '../../../src/storage/service-accounts.ts'
import * as sessions from '../../../src/storage/sessions.ts'
import * as silences from '../../../src/storage/silences.ts'
import * as spend from '../../../src/storage/spend.ts'
import { acrossOrganisations, type TenantQueries } from '../../../src/storage/tenancy.ts'
import * as usage from '../../../src/storage/usage.ts'
import { keepUsagePartitions } from '../../../src/storage/usage-partitions.ts'
import * as users from '../../../src/storage/users.ts'
import { systemClock } from '../../../src/system.ts'
import { DatabasePlace } from './database-place.ts'
import { PlannedQueries } from './planned-queries.ts'

const ORGANISATIONS = 1_000
const PROJECTS = 10_000
const KEYS = 100_000

const MINE: accounts.Account = { organisationId: 'org_500', projectId: 'proj_5000' }
const NOW_MS = Date.UTC(2026, 10, 1)

const PAGE = { limit: 50, after: { createdAtMs: NOW_MS, id: 'x' } }
const MEMBER = { organisationId: MINE.organisationId, userId: 'user_500' }
const NOW = { nowMs: NOW_MS }
const AUDITED = { organisationId: MINE.organisationId }

const newKey = (id: string) => ({
  ...MINE,
  id,
  name: 'new',
  userId: undefined,
  serviceAccountId: undefined,
  secretHmac: Buffer.alloc(32),
  scopes: ['inference'],
  models: undefined,
  ipRules: undefined,
  createdAtMs: NOW_MS,
  expiresAtMs: undefined,
  revokedAtMs: undefined,
  replacedBy: undefined,
})

const usageRecord = {
  ...MINE,
  requestId: 'new',
  startedAtMs: NOW_MS,
  durationMs: 1,
  keyId: 'key_5000',
  model: 'm',
  route: '/v1/chat/completions',
  status: 200,
  promptTokens: 1,
  completionTokens: 1,
  cachedTokens: 0,
  cost: 1,
  estimated: false,
  streamed: false,
  instance: 'i',
}

const KPIS = {
  organisationId: MINE.organisationId,
  projectId: undefined,
  fromMs: NOW_MS - 86_400_000,
  toMs: NOW_MS,
  groupBy: 'model',
} as const

const told = {
  id: 'new',
  receiver: 'hook',
  groupKey: 'g',
  body: {},
  attempts: 0,
  createdAtMs: NOW_MS,
  done: undefined,
}

const newRule = {
  ...MINE,
  id: 'lim_new',
  on: { kind: 'key', id: 'key_5000' },
  each: undefined,
  measure: 'requests',
  model: undefined,
  amount: 1,
  algorithm: 'token-bucket',
  windowMs: 60_000,
  burst: undefined,
  period: undefined,
  shapeMaxWaitMs: 0,
  createdAtMs: NOW_MS,
} as const

const CLAIMS = (['organisation', 'project', 'key', 'user'] as const).map((kind) => ({
  subject: {
    kind,
    id: { organisation: MINE.organisationId, project: MINE.projectId, key: 'key_5000', user: 'user_500' }[
      kind
    ],
  },
  model: 'm',
  sinceMs: Date.UTC(2026, 9, 1),
  amount: 1e9,
  cost: 1,
}))

const keptResponse = {
  ...MINE,
  id: 'resp_new',
  actor: 'key:x',
  previousId: 'resp_5000',
  status: 'in_progress',
  model: 'm',
  background: true,
  createdAtMs: NOW_MS,
  input: '[]',
  output: '[]',
  response: '{}',
  leaseMs: 60_000,
} as const

type Call = (queries: TenantQueries, database: Database) => Promise<unknown>

/** One call of each function that asks the database something. A function that is not here fails the last test. */
const CALLS: Readonly<Record<string, Call>> = {
  ensureDefaultAccount: (queries) => accounts.ensureDefaultAccount(queries, NOW_MS),
  insertOrganisation: (queries) =>
    accounts.insertOrganisation(queries, {
      id: 'org_new',
      name: 'n',
      createdAtMs: NOW_MS,
      archivedAtMs: undefined,
    }),
  findOrganisation: (queries) => accounts.findOrganisation(queries, MINE.organisationId),
  listOrganisations: (queries) => accounts.listOrganisations(queries, PAGE),
  renameOrganisation: (queries) =>
    accounts.renameOrganisation(queries, { id: MINE.organisationId, name: 'n' }),
  archiveOrganisation: (queries) =>
    accounts.archiveOrganisation(queries, { id: MINE.organisationId, ...NOW }),
  insertProject: (queries) =>
    accounts.insertProject(queries, {
      id: 'proj_new',
      organisationId: MINE.organisationId,
      name: 'n',
      createdAtMs: NOW_MS,
      archivedAtMs: undefined,
    }),
  findProject: (queries) => accounts.findProject(queries, MINE),
  listProjects: (queries) =>
    accounts.listProjects(queries, { ...AUDITED, among: ['proj_5000'], archived: false }, PAGE),
  renameProject: (queries) => accounts.renameProject(queries, { ...MINE, name: 'n' }),
  archiveProject: (queries) => accounts.archiveProject(queries, { ...MINE, ...NOW }),
  insertKey: (queries) => keys.insertKey(queries, newKey('new')),
  findKeyCredential: (queries) => keys.findKeyCredential(queries, 'key_777'),
  findKey: (queries) => keys.findKey(queries, { ...AUDITED, id: 'key_5000' }),
  listKeys: (queries) =>
    keys.listKeys(queries, { ...AUDITED, among: undefined, state: 'active', ...NOW }, PAGE),
  revokeKey: (queries) => keys.revokeKey(queries, { ...AUDITED, id: 'key_5000', ...NOW }),
  replaceKey: async (queries) => {
    await keys.insertKey(queries, newKey('next'))
    await keys.replaceKey(queries, { ...AUDITED, id: 'key_5000', replacedBy: 'next', endsAtMs: NOW_MS })
  },
  revokeKeysOfUser: (queries) => keys.revokeKeysOfUser(queries, { ...MEMBER, ...NOW }),
  findPepperFingerprint: (queries) => keys.findPepperFingerprint(queries),
  insertPepperFingerprint: (queries) => keys.insertPepperFingerprint(queries, Buffer.alloc(32)),
  findGrants: (queries) => memberships.findGrants(queries, MEMBER),
  putGrant: async (queries) => {
    await memberships.putGrant(queries, { ...MEMBER, role: 'viewer', projectId: undefined, ...NOW })
    await memberships.putGrant(queries, { ...MEMBER, role: 'viewer', projectId: MINE.projectId, ...NOW })
  },
  removeGrants: (queries) => memberships.removeGrants(queries, MEMBER),
  countOtherOwners: (queries) => memberships.countOtherOwners(queries, MEMBER),
  findMember: (queries) => memberships.findMember(queries, MEMBER),
  listMembers: (queries) =>
    memberships.listMembers(queries, { ...AUDITED, among: [MINE.projectId], email: undefined }, PAGE),
  replaceProviderGrants: (queries) =>
    memberships.replaceProviderGrants(queries, {
      ...MEMBER,
      grants: [{ role: 'viewer', projectId: MINE.projectId }],
      ...NOW,
    }),
  lockExternalLogins: (queries) => identities.lockExternalLogins(queries),
  findExternalUser: (queries) => identities.findExternalUser(queries, { issuer: 'i', subject: 'subject_7' }),
  isKnownToIssuer: (queries) => identities.isKnownToIssuer(queries, { issuer: 'i', userId: 'user_500' }),
  insertExternalIdentity: (queries) =>
    identities.insertExternalIdentity(queries, { issuer: 'i', subject: 'new', userId: 'user_500', ...NOW }),
  insertUser: (queries) =>
    users.insertUser(queries, {
      id: 'user_new',
      email: 'new@example.com',
      name: 'n',
      passwordHash: undefined,
      createdAtMs: NOW_MS,
      disabledAtMs: undefined,
    }),
  findUserByEmail: (queries) => users.findUserByEmail(queries, 'USER_7@example.com'),
  replacePasswordHash: (queries) =>
    users.replacePasswordHash(queries, { id: 'user_500', passwordHash: 'h', replaced: 'g' }),
  organisationsOf: (queries) => users.organisationsOf(queries, 'user_500'),
  insertSession: (queries) =>
    sessions.insertSession(queries, {
      ...MEMBER,
      id: 'new',
      refreshHash: Buffer.alloc(32),
      createdAtMs: Date.UTC(2020, 1, 1),
      expiresAtMs: NOW_MS,
      revokedAtMs: undefined,
    }),
  lockSession: (queries) => sessions.lockSession(queries, 'session_7'),
  replaceRefreshHash: (queries) =>
    sessions.replaceRefreshHash(queries, { id: 'session_7', refreshHash: Buffer.alloc(32) }),
  revokeSession: (queries) => sessions.revokeSession(queries, { id: 'session_7', ...NOW }),
  endSessions: (queries) => sessions.endSessions(queries, { ...MEMBER, ...NOW }),
  findSessionCredential: (queries) => sessions.findSessionCredential(queries, 'session_500'),
  insertServiceAccount: (queries) =>
    serviceAccounts.insertServiceAccount(queries, {
      ...MINE,
      id: 'sa_new',
      name: 'n',
      role: 'viewer',
      createdAtMs: NOW_MS,
      disabledAtMs: undefined,
    }),
  findServiceAccount: (queries) => serviceAccounts.findServiceAccount(queries, { ...AUDITED, id: 'sa_5000' }),
  listServiceAccounts: (queries) =>
    serviceAccounts.listServiceAccounts(queries, { ...AUDITED, among: undefined }, PAGE),
  disableServiceAccount: (queries) =>
    serviceAccounts.disableServiceAccount(queries, { ...AUDITED, id: 'sa_5000', ...NOW }),
  appendAudit: (queries) =>
    audit.appendAudit(queries, {
      ...AUDITED,
      atMs: NOW_MS,
      actor: 'operator',
      action: 'keys.create',
      target: 'x',
      projectId: undefined,
      requestId: undefined,
      source: undefined,
      details: {},
    }),
  searchAudit: async (queries) => {
    await audit.searchAudit(queries, { ...AUDITED, fromMs: 0, limit: 50 })
    await audit.searchAudit(queries, { ...AUDITED, text: 'needle', limit: 50 })
  },
  verifyAudit: (queries) => audit.verifyAudit(queries, MINE.organisationId),
  findAnswer: (queries) =>
    answers.findAnswer(queries, { ...AUDITED, actor: 'operator', keyHash: Buffer.alloc(32) }, NOW_MS),
  putAnswer: (queries) =>
    answers.putAnswer(queries, {
      ...AUDITED,
      actor: 'operator',
      keyHash: Buffer.alloc(32),
      requestHash: Buffer.alloc(32),
      sealedAnswer: Buffer.alloc(1),
      nowMs: Date.UTC(2020, 1, 1),
      keepMs: 0,
    }),
  putLimitRule: (queries) => limitRules.putLimitRule(queries, newRule),
  findLimitRule: (queries) => limitRules.findLimitRule(queries, { ...AUDITED, id: 'lim_5000' }),
  findLimitRuleOfSlot: (queries) =>
    limitRules.findLimitRuleOfSlot(queries, { ...AUDITED, holderId: 'key_5000', slot: 'slot' }),
  removeLimitRule: (queries) => limitRules.removeLimitRule(queries, { ...AUDITED, id: 'lim_5000' }),
  listLimitRules: async (queries) => {
    await limitRules.listLimitRules(queries, { ...AUDITED, among: undefined }, PAGE)
    await limitRules.listLimitRules(queries, { ...AUDITED, among: [MINE.projectId], keyId: 'key_5000' }, PAGE)
  },
  fullestBudgets: (queries) => budgetUse.fullestBudgets(queries, { ...NOW, ratioMin: 0.5, budgetsMax: 200 }),
  limitRulesFor: (queries) =>
    limitRules.limitRulesFor(queries, { ...MINE, keyId: 'key_5000', userId: 'user_500' }),
  spentOf: (queries) => spend.spentOf(queries, { ...AUDITED, asked: CLAIMS, ...NOW }),
  reserveSpend: (queries) =>
    spend.reserveSpend(
      queries,
      { ...AUDITED, requestId: 'new', expiresAtMs: NOW_MS + 1_000, claims: CLAIMS },
      NOW_MS,
    ),
  releaseSpend: (queries) => spend.releaseSpend(queries, { ...AUDITED, requestIds: ['request_500'] }),
  insertResponse: (queries) => responses.insertResponse(queries, keptResponse, { ...NOW, keepMs: 1_000 }),
  updateResponse: (queries) =>
    responses.updateResponse(queries, { ...keptResponse, id: 'resp_5000' }, NOW_MS),
  findResponse: (queries) => responses.findResponse(queries, { ...MINE, id: 'resp_5000' }, NOW_MS),
  responseChain: (queries) => responses.responseChain(queries, { ...MINE, id: 'resp_5000' }, NOW_MS),
  removeResponse: (queries) => responses.removeResponse(queries, { ...MINE, id: 'resp_5000' }),
  renewResponses: (queries) =>
    responses.renewResponses(queries, { ids: ['resp_1', 'resp_2'], untilMs: NOW_MS }),
  removeExpiredResponses: (queries) => responses.removeExpiredResponses(queries, Date.UTC(2020, 1, 1)),
  seriesIds: (queries) => history.seriesIds(queries, [{ figure: 'f', labels: { model: 'new' } }]),
  insertPoints: (queries) => history.insertPoints(queries, 10, [{ seriesId: 1, atMs: NOW_MS, value: 1 }]),
  rollUp: (queries) =>
    history.rollUp(queries, { fineSeconds: 10, coarseSeconds: 60, fromMs: NOW_MS - 60_000, toMs: NOW_MS }),
  newestPoint: (queries) => history.newestPoint(queries, 10),
  oldestPoint: (queries) => history.oldestPoint(queries, 10),
  dropPoints: (queries) => history.dropPoints(queries, 10, NOW_MS - 9_000_000),
  dropEmptySeries: (queries) => history.dropEmptySeries(queries, [1]),
  readHistory: (queries) =>
    history.readHistory(queries, {
      ...{ figures: ['f'], resolutionSeconds: 10, fromMs: NOW_MS - 600_000, toMs: NOW_MS },
    }),
  withKpis: (_queries, database) =>
    kpis.withKpis(database, MINE.organisationId, (queries) => kpis.kpiSums(queries, KPIS)),
  kpiSums: async (queries) => {
    await kpis.kpiSums(queries, KPIS)
    await kpis.kpiSums(queries, { ...KPIS, ...MINE, groupBy: 'project' })
  },
  kpiHours: (queries) => kpis.kpiHours(queries, { ...KPIS, organisationId: undefined }),
  kpiDetails: async (queries) => {
    await kpis.kpiDetails(queries, ['org_500', 'org_501'], KPIS)
    await kpis.kpiDetails(queries, ['org_500'], { ...KPIS, ...MINE, groupBy: 'project' })
  },
  saveNotifications: (_queries, database) => notifications.saveNotifications(database, [told], NOW_MS),
  claimNotifications: (_queries, database) =>
    notifications.claimNotifications(database, {
      ...{ receiver: 'hook', nowMs: NOW_MS, leaseUntilMs: NOW_MS, limit: 10, all: false },
    }),
  lastNotifications: (_queries, database) => notifications.lastNotifications(database, Date.now() - 60_000),
  listNotifications: (_queries, database) => notifications.listNotifications(database, 20),
  dropOldNotifications: (_queries, database) =>
    notifications.dropOldNotifications(database, {
      ...{ nowMs: NOW_MS, giveUpBeforeMs: Date.UTC(2020, 1), forgetBeforeMs: Date.UTC(2020, 1) },
    }),
  insertSilence: (_queries, database) =>
    silences.insertSilence(database, {
      ...{ id: 'new', matchers: { alert: 'x' }, untilMs: NOW_MS, reason: 'r', by: 'me', createdAtMs: NOW_MS },
    }),
  listSilences: (_queries, database) => silences.listSilences(database, NOW_MS),
  endSilence: (_queries, database) => silences.endSilence(database, { id: 'silence_5', nowMs: NOW_MS }),
  dropOldSilences: (_queries, database) => silences.dropOldSilences(database, Date.UTC(2020, 1)),
  holdSeat: (queries) => monitorStates.holdSeat(queries, 'me', 1_000),
  leaveSeat: (queries) => monitorStates.leaveSeat(queries, 'me'),
  readState: (queries) => monitorStates.readState(queries, 'alerts'),
  saveState: (queries) => monitorStates.saveState(queries, { name: 'alerts', holder: 'me', state: {} }),
  insertUsage: (_queries, database) => usage.insertUsage(database, [usageRecord]),
  usageSummary: (_queries, database) =>
    usage.usageSummary(database, { ...AUDITED, fromMs: NOW_MS - 86_400_000, toMs: NOW_MS, groupBy: 'day' }),
  listUsage: (_queries, database) =>
    usage.listUsage(database, { ...AUDITED, fromMs: NOW_MS - 86_400_000, toMs: NOW_MS, limit: 50 }),
}

const MEMBERS = 20_000

/** Rows for every table that grows with use. A table that is neither here nor small fails the test before the last. */
const SEEDS: Readonly<Record<string, string>> = {
  organisations: `insert into organisations (id, name, created_at)
    select 'org_' || n, 'Organisation ' || n, now() - n * interval '1 second'
    from generate_series(0, ${ORGANISATIONS - 1}) n`,
  projects: `insert into projects (id, organisation_id, name, created_at)
    select 'proj_' || n, 'org_' || n / ${PROJECTS / ORGANISATIONS}, 'Project ' || n, now()
    from generate_series(0, ${PROJECTS - 1}) n`,
  users: `insert into users (id, email, name, created_at)
    select 'user_' || n, 'user_' || n || '@example.com', 'User ' || n, now()
    from generate_series(0, ${MEMBERS - 1}) n`,
  external_identities: `insert into external_identities (issuer, subject, user_id, created_at)
    select 'i', 'subject_' || n, 'user_' || n, now() from generate_series(0, ${MEMBERS - 1}) n`,
  memberships: `insert into memberships (organisation_id, user_id, role, created_at)
    select 'org_' || n % ${ORGANISATIONS}, 'user_' || n, case when n < 2000 then 'owner' else 'developer' end, now()
    from generate_series(0, ${MEMBERS - 1}) n`,
  sessions: `insert into sessions (id, organisation_id, user_id, refresh_hash, created_at, expires_at)
    select 'session_' || n, 'org_' || n % ${ORGANISATIONS}, 'user_' || n, decode(repeat(md5(n::text), 2), 'hex'),
           now(), now() + interval '30 days'
    from generate_series(0, ${MEMBERS - 1}) n`,
  service_accounts: `insert into service_accounts (id, organisation_id, project_id, name, role, created_at)
    select 'sa_' || n, 'org_' || n / ${PROJECTS / ORGANISATIONS}, 'proj_' || n, 'Robot ' || n, 'viewer', now()
    from generate_series(0, ${PROJECTS - 1}) n`,
  api_keys: `insert into api_keys (id, organisation_id, project_id, name, secret_hmac, created_at, user_id)
    select 'key_' || n, 'org_' || n % ${PROJECTS} / ${PROJECTS / ORGANISATIONS}, 'proj_' || n % ${PROJECTS},
           'Key ' || n, decode(repeat(md5(n::text), 2), 'hex'), now() - n * interval '1 second',
           case when n % 10 = 0 then 'user_' || n % ${MEMBERS} end
    from generate_series(0, ${KEYS - 1}) n`,
  audit_log: `insert into audit_log (organisation_id, number, at, actor, action, target, details, previous_hash, hash)
    select 'org_' || n % ${ORGANISATIONS}, n / ${ORGANISATIONS} + 1, now(), 'operator', 'keys.create', 'key_' || n, '{}', '', ''
    from generate_series(0, ${KEYS - 1}) n`,
  audit_search: `insert into audit_search (organisation_id, number, text)
    select organisation_id, number, md5(target) from audit_log`,
  audit_heads: `insert into audit_heads (organisation_id, number, hash)
    select organisation_id, max(number), '' from audit_log group by 1`,
  idempotent_answers: `insert into idempotent_answers
      (organisation_id, actor, key_hash, request_hash, sealed_answer, created_at)
    select 'org_' || n % ${ORGANISATIONS}, 'operator', decode(md5(n::text), 'hex'), '', '', now()
    from generate_series(0, ${MEMBERS - 1}) n`,
  usage_records: `insert into usage_records (organisation_id, started_at, request_id, project_id, key_id, model, route,
      status, duration_ms, prompt_tokens, completion_tokens, cached_tokens, estimated, streamed, instance)
    select 'org_' || n % ${ORGANISATIONS}, '2026-10-31'::timestamptz - n * interval '10 seconds', 'request_' || n,
           'proj_' || n % ${ORGANISATIONS} * ${PROJECTS / ORGANISATIONS}, 'key_1', 'm', 'r', 200, 1, 1, 1, 0, false, false, 'i'
    from generate_series(0, ${KEYS - 1}) n`,
  usage_hourly: `insert into usage_hourly (organisation_id, hour, project_id, model, requests, errors, prompt_tokens,
      completion_tokens, cached_tokens)
    select organisation_id, date_trunc('hour', started_at), project_id, model, count(*), 0, 1, 1, 0
    from usage_records group by 1, 2, 3, 4`,
  limit_rules: `insert into limit_rules (id, organisation_id, holder_kind, holder_id, project_id, key_id, measure, period, amount,
      algorithm, window_ms, shape_max_wait_ms, slot, created_at)
    select 'lim_' || n, 'org_' || n % ${PROJECTS} / ${PROJECTS / ORGANISATIONS}, 'key', 'key_' || n,
           'proj_' || n % ${PROJECTS}, 'key_' || n,
           case when n % 500 = 0 then 'money' else 'requests' end, case when n % 500 = 0 then 'month' end, 1,
           'token-bucket', 60000, 0, 'slot', now()
    from generate_series(0, ${KEYS - 1}) n`,
  spend_daily: `insert into spend_daily (organisation_id, day, project_id, key_id, user_id, model, cost)
    select 'org_' || n % ${ORGANISATIONS}, '2026-10-31'::date - n / 10000, 'proj_' || n % ${PROJECTS},
           'key_' || n % 10000, 'user_' || n % ${ORGANISATIONS}, 'm', 1
    from generate_series(0, ${KEYS - 1}) n`,
  responses: `insert into responses (id, organisation_id, project_id, actor, previous_id, status, model, background,
      input, output, response, size_bytes, created_at, expires_at, lease_until)
    select 'resp_' || n, 'org_' || n % ${PROJECTS} / ${PROJECTS / ORGANISATIONS}, 'proj_' || n % ${PROJECTS}, 'key:x',
           case when n >= ${PROJECTS} then 'resp_' || n - ${PROJECTS} end, 'completed', 'm', false, '[]', '[]', '{}', 4,
           now(), now() + n * interval '1 minute', case when n % 1000 = 0 then now() end
    from generate_series(0, ${KEYS - 1}) n`,
  spend_reservations: `insert into spend_reservations (organisation_id, request_id, subject_kind, subject_id, model, cost,
      expires_at)
    select 'org_' || n % ${ORGANISATIONS}, 'request_' || n, 'key', 'key_' || n, '', 1, now() + interval '1 hour'
    from generate_series(0, ${MEMBERS - 1}) n`,
  history_series: `insert into history_series (figure, labels)
    select 'f', jsonb_build_object('model', n) from generate_series(1, 100) n`,
  history_points: `insert into history_points (series_id, resolution, at, value, low, high)
    select n % 100 + 1, 10, '2026-11-01'::timestamptz - n / 100 * interval '10 seconds', 1, 1, 1
    from generate_series(0, ${KEYS - 1}) n`,
  alert_silences: `insert into alert_silences (id, matchers, until, reason, made_by, created_at)
    select 's_' || n, '{}', now() + n * interval '1 second', 'r', 'operator', now()
    from generate_series(0, ${MEMBERS - 1}) n`,
  notifications: `insert into notifications (id, receiver, group_key, body, next_at, created_at, done_at)
    select 'n_' || n, 'r_' || n % 3, 'g', '{}', now(), now() - n * interval '1 second', case when n > 10 then now() end
    from generate_series(0, ${MEMBERS - 1}) n`,
}

/** Tables that stay so small that reading them as a whole is the best plan. */
const SMALL: ReadonlySet<string> = new Set([
  'api_key_pepper',
  // As many as processes export, whatever callers do.
  'history_series',
  'monitor_states',
  'pool_leader',
  'schema_migrations',
  'signing_keys',
])

/** The modules whose functions ask the database; all that they export are calls. */
const MODULES = {
  accounts,
  keys,
  memberships,
  users,
  sessions,
  'service-accounts': serviceAccounts,
  'external-identities': identities,
  audit,
  'idempotent-answers': answers,
  usage,
  'limit-rules': limitRules,
  'budget-use': budgetUse,
  spend,
  responses,
  history,
  'monitor-states': monitorStates,
  kpis,
  notifications,
  silences,
} as const

let place: DatabasePlace
let postgres: EmbeddedPostgres
let database: Database
beforeAll(async () => {
  place = await DatabasePlace.withDatabase()
  postgres = await place.start()
  const { connection } = postgres
  await migrate({ connection, log: silentLog, clock: systemClock })
  database = openDatabase(connection, {
    acquireTimeoutMs: 1_000,
    queryTimeoutMs: 120_000,
    log: silentLog,
    clock: systemClock,
  })
  await keepUsagePartitions(database, { nowMs: NOW_MS, retentionMs: 400 * 86_400_000, log: silentLog })
  await acrossOrganisations(database, async (queries) => {
    for (const seed of Object.values(SEEDS)) await queries.query(seed)
  })
  await database.query('vacuum (analyze)')
})
afterAll(async () => {
  await database?.close()
  await postgres?.stop()
  await place?.remove()
})

const UNDONE = new Error('undone')

/** Runs the call in a transaction that is undone, and gives what of it would read a large table as a whole. */
async function examine(call: Call): Promise<PlannedQueries> {
  let planned = new PlannedQueries(database, SMALL)
  const work = acrossOrganisations(database, async (transaction) => {
    planned = new PlannedQueries(transaction, SMALL)
    await call(planned as Queries as TenantQueries, within(planned))
    throw UNDONE
  })
  await work.catch((reason) => {
    if (reason !== UNDONE) throw reason
  })
  return planned
}

/** A database for a function that opens a transaction: here it is in one already. */
function within(queries: Queries): Database {
  return {
    query: (sql, values) => queries.query(sql, values),
    read: (sql, values) => queries.query(sql, values),
    transaction: (work) => work(queries),
    readTransaction: (work) => work(queries),
    position: () => undefined,
    listen: () => Promise.reject(new Error('nothing to listen to in a transaction')),
    close: async () => {},
  }
}

describe('every statement finds its rows by an index', () => {
  test.each(Object.entries(CALLS))('%s', async (_name, call) => {
    const { recorded, scans } = await examine(call)
    expect(recorded.length).toBeGreaterThan(0)
    expect(scans).toEqual([])
  })
})

test('a statement without an index is noticed, by its values and without them', async () => {
  const { scans } = await examine((one) => one.query('select from api_keys where name = $1', ['Key 7']))
  expect(scans.map(({ table }) => table)).toEqual(['api_keys', 'api_keys'])
  const { scans: without } = await examine((one) =>
    one.query("update projects set name = 'x' where name = 'Project 7'"),
  )
  expect(without.map(({ table }) => table)).toEqual(['projects'])
})

test('every table is seeded, or small for a reason', async () => {
  const rows = await database.query<{ name: string }>(
    `select relname as name from pg_class where relkind in ('r', 'p') and relnamespace = 'public'::regnamespace
       and not relispartition and not exists (
         select from pg_depend where objid = pg_class.oid and deptype = 'e')`,
  )
  const known = new Set([...Object.keys(SEEDS), ...SMALL])
  expect(rows.map(({ name }) => name).filter((name) => !known.has(name))).toEqual([])
})

/** What asks the database, but no table that grows. */
const NO_TABLES = [
  'auth/service.ts',
  'auth/service.test.ts',
  'storage/application-role.ts',
  'storage/leader-seat.ts',
  'storage/backup/',
  'storage/connection-limit.ts',
  'storage/database-doctor.ts',
  'storage/database.ts',
  'storage/doctor/',
  'storage/extensions.ts',
  'storage/heartbeat.ts',
  'storage/instance-lock.ts',
  'storage/listener.ts',
  'storage/migrate.ts',
  'storage/pending-migrations.ts',
  'storage/replica.ts',
  'storage/replicas.ts',
  'storage/revocations.ts',
  'storage/schema-version.ts',
  'storage/session.ts',
  // A handful of rows.
  'storage/signing-keys.ts',
  'storage/slow-statements.ts',
  'storage/tenancy.ts',
  // Upkeep of whole tables, by their catalogue.
  'storage/usage-partitions.ts',
  'storage/vector-table.ts',
  // Only where there is pgvector: vector-plans.test.ts examines them.
  'storage/vectors.ts',
]

test('every module that asks the database is examined', async () => {
  const source = join(import.meta.dirname, '..', '..', '..', 'src')
  const names = await readdir(source, { recursive: true })
  const asking = names.filter(
    (name) => name.endsWith('.ts') && /\.query(<|\()/.test(readFileSync(join(source, name), 'utf8')),
  )
  const examined = Object.keys(MODULES).map((name) => `storage/${name}.ts`)
  const known = [...NO_TABLES, ...examined]
  expect(asking.filter((name) => !known.some((one) => name.startsWith(one)))).toEqual([])
})

test('every function that asks the database is examined', () => {
  const functions = Object.values(MODULES).flatMap((module) =>
    Object.entries(module).flatMap(([name, value]) => (typeof value === 'function' ? [name] : [])),
  )
  expect(functions.filter((name) => !(name in CALLS))).toEqual([])
})
