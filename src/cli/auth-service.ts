import { authRoutes } from '../auth/rpc.ts'
import type { AuthService } from '../auth/service.ts'
import { startAuth } from '../auth/start.ts'
import type { Settings } from '../config/load.ts'
import type { Places } from '../config/places.ts'
import { AuthRpcClient } from '../contracts/auth-rpc-client.ts'
import type { DatabaseAdministration } from '../contracts/database.ts'
import type { SpendClient } from '../contracts/limits.ts'
import type { ResponsesStore } from '../contracts/responses-store.ts'
import { inMemory, overTls, type TlsFiles } from '../contracts/rpc-transport.ts'
import type { UsageClient, UsageSink } from '../contracts/usage.ts'
import type { VectorStore } from '../contracts/vector-store.ts'
import { HelixError } from '../core/errors.ts'
import type { Lifecycle } from '../core/lifecycle.ts'
import type { Logger } from '../core/log.ts'
import type { Metrics } from '../core/metrics.ts'
import type { Tracer } from '../core/tracing.ts'
import { watchDisk } from '../metrics/disk-metrics.ts'
import { Kpis } from '../monitor/kpis.ts'
import type { BackupService } from '../storage/backup/backup-service.ts'
import { openDatabase, type PostgresConnection } from '../storage/database.ts'
import { type EmbeddedPostgres, startEmbeddedPostgres } from '../storage/embedded-postgres.ts'
import { systemClock } from '../system.ts'
import { startBackups } from './backup-place.ts'
import { startDatabaseAdministration } from './database-administration.ts'

export interface AuthServiceRequest {
  readonly settings: Settings
  readonly places: Places
  readonly log: Logger
  readonly metrics: Metrics
  /** Stops what was started. */
  readonly lifecycle: Lifecycle
}

/** A database answers or refuses within a few seconds; beyond that nobody is there. */
const RPC_TIMEOUT_MS = 15_000

/** So many organisations at a time get their figures. */
const KPI_CONNECTIONS = 2

export interface OpenedAuth {
  readonly auth: AuthRpcClient
  readonly usage: UsageSink
  readonly spend: SpendClient
  readonly responses: ResponsesStore
  readonly vectors: VectorStore
  /** Undefined where the database is somebody else's. */
  readonly database: DatabaseAdministration | undefined
  readonly backups: BackupService | undefined
  /** Of the database that this process has; undefined where it is somebody else's. */
  readonly connection: PostgresConnection | string | undefined
}

/** The auth service as the other roles use it: in this process with its database, or where `rpc.authUrl` says. */
export async function openAuthClient(
  request: AuthServiceRequest & { readonly tracer: Tracer },
): Promise<OpenedAuth> {
  const { settings, log, lifecycle, tracer } = request
  const { authUrl } = settings.config.rpc
  const here = authUrl === undefined ? await startAuthService(request) : undefined
  const transport = here
    ? inMemory(authRoutes({ ...here, log }), tracer)
    : overTls(authUrl ?? '', tlsFiles(settings))
  const auth = new AuthRpcClient({ transport, timeoutMs: RPC_TIMEOUT_MS, clock: systemClock, log })
  lifecycle.add('auth client', () => auth.stop())
  // Records in their thousands are not worth writing and reading twice within one process.
  const usage = here?.usage ?? auth
  const { responses, vectors } = auth
  const { database, backups, connection } = here ?? {}
  return { auth, usage, spend: auth, responses, vectors, database, backups, connection }
}

export interface StartedAuth {
  readonly auth: AuthService
  readonly usage: UsageClient
  readonly spend: SpendClient
  readonly responses: ResponsesStore
  readonly vectors: VectorStore
  readonly database: DatabaseAdministration
  readonly backups: BackupService
  readonly connection: PostgresConnection | string
}

/** The auth service itself, on its database. */
export async function startAuthService(request: AuthServiceRequest): Promise<StartedAuth> {
  const { settings, places, log, lifecycle, metrics } = request
  const { database } = settings.config
  const postgres = await startDatabase(request)
  if (postgres) {
    const { directory } = postgres
    const end = watchDisk(metrics, { place: 'database', directory, clock: systemClock })
    lifecycle.add('postgres', () => postgres.stop())
    lifecycle.add('database disk', async () => end())
  }
  const connection = postgres?.connection ?? databaseUrl(settings)
  const administration = startDatabaseAdministration(connection, database, log)
  lifecycle.add('database administration', () => administration.stop())
  const kpis = openKpis(connection, request)
  const { stop, ...started } = await startAuth({
    connection,
    connectionsMax: database.connectionsMax,
    connectionsMin: database.connectionsMin,
    replicas: database.driver === 'postgres' ? database.replicaUrls : [],
    gateways: database.gateways,
    acquireTimeoutMs: database.acquireTimeout,
    queryTimeoutMs: database.queryTimeout,
    pepperFile: places.pepper,
    config: settings.config.auth,
    usageRetentionMs: settings.config.usage.retention,
    responsesRetentionMs: settings.config.responses.retention,
    kpis: { kpis: (query) => kpis.report(query) },
    metrics,
    log,
    clock: systemClock,
  })
  lifecycle.add('auth', stop)
  const backups = startBackups({ settings, places, postgres, metrics, lifecycle, log })
  return { ...started, database: administration, backups, connection }
}

/**
 * Figures of the business for tenants. They have connections of their own: reckoning takes up to a second, and however many
 * ask for it, keys are verified meanwhile.
 */
function openKpis(
  connection: PostgresConnection | string,
  { settings, log, lifecycle }: AuthServiceRequest,
): Kpis {
  const { acquireTimeout: acquireTimeoutMs, queryTimeout: queryTimeoutMs } = settings.config.database
  const database = openDatabase(connection, {
    ...{ connectionsMax: KPI_CONNECTIONS, acquireTimeoutMs, queryTimeoutMs, log, clock: systemClock },
  })
  lifecycle.add('business figures', () => database.close())
  return new Kpis({
    database,
    clock: systemClock,
    deviceCosts: {},
    minutesKeptMs: 0,
    devices: async () => [],
  })
}

/** @throws HelixError `invalid_configuration` */
export function tlsFiles({ config: { rpc } }: Settings): TlsFiles {
  if (rpc.tls) return rpc.tls
  throw new HelixError(
    'invalid_configuration',
    'Services apart know each other by certificates: set rpc.tls.authority, certificate and key. docs/services-apart.md shows how to make them.',
  )
}

async function startDatabase({
  settings,
  places,
  log,
}: AuthServiceRequest): Promise<EmbeddedPostgres | undefined> {
  const { database, backup } = settings.config
  if (database.driver !== 'embedded') return undefined
  return startEmbeddedPostgres({
    directory: places.postgres,
    runtimeDirectory: places.runtime,
    binaries: database.binaries,
    backups: backup.enabled ? backup : undefined,
    log,
    clock: systemClock,
  })
}

function databaseUrl({ config: { database } }: Settings): string {
  if (database.driver === 'postgres') return database.url
  throw new HelixError('invalid_configuration', 'The embedded database did not start.')
}
