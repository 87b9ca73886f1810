import type { Config } from '../config/schema.ts'
import type { MonitorClient } from '../contracts/monitor.ts'
import type { Clock } from '../core/clock.ts'
import { HelixError } from '../core/errors.ts'
import type { Stoppable } from '../core/lifecycle.ts'
import type { Logger } from '../core/log.ts'
import type { Metrics } from '../core/metrics.ts'
import { ensureDefaultAccount } from '../storage/accounts.ts'
import { checkConnectionLimit } from '../storage/connection-limit.ts'
import { type Database, openDatabase, type PostgresConnection } from '../storage/database.ts'
import { ensureExtensions } from '../storage/extensions.ts'
import { findPepperFingerprint, insertPepperFingerprint } from '../storage/keys.ts'
import { migrate } from '../storage/migrate.ts'
import { REVOCATIONS_CHANNEL } from '../storage/revocations.ts'
import { readOrCreateSecret, readSecret } from '../storage/secret-file.ts'
import { acrossOrganisations } from '../storage/tenancy.ts'
import { AccessTokens } from './access-tokens.ts'
import { pepperFingerprint } from './api-keys.ts'
import { startBudgetWatch } from './budget-watch.ts'
import { OidcLogin } from './oidc.ts'
import { hashPassword } from './passwords.ts'
import { ResponsesService } from './responses.ts'
import { startResponsesUpkeep } from './responses-upkeep.ts'
import { AuthService } from './service.ts'
import { SigningKeys } from './signing-keys.ts'
import { SpendService } from './spend.ts'
import { startVectors } from './start-vectors.ts'
import { UsageService } from './usage.ts'
import { startUsageUpkeep } from './usage-upkeep.ts'
import type { VectorsService } from './vectors.ts'

export interface AuthOptions {
  readonly connection: PostgresConnection | string
  readonly connectionsMax?: number | undefined
  readonly connectionsMin?: number | undefined
  readonly replicas?: readonly string[] | undefined
  /** How many processes open as many connections to the same server; not looked at where it is undefined. */
  readonly gateways?: number | undefined
  readonly acquireTimeoutMs: number
  readonly queryTimeoutMs: number
  /** Made at the first start. Every machine that shares the database needs the same file. */
  readonly pepperFile: string
  readonly config: Config['auth']
  /** How long the record of a request is kept. */
  readonly usageRetentionMs: number
  /** How long a response is kept that was asked to be. */
  readonly responsesRetentionMs: number
  /** Figures of the business for whoever may see an organisation's use; without what devices cost. */
  readonly kpis: Pick<MonitorClient, 'kpis'>
  readonly metrics?: Metrics | undefined
  readonly log: Logger
  readonly clock: Clock
}

export interface RunningAuth extends Stoppable {
  readonly auth: AuthService
  readonly usage: UsageService
  readonly spend: SpendService
  readonly responses: ResponsesService
  readonly vectors: VectorsService
}

/**
 * The auth service on its database, which is brought up to date first.
 * @throws HelixError `migration_failed`, `storage_unavailable`, `invalid_configuration`
 */
export async function startAuth(options: AuthOptions): Promise<RunningAuth> {
  const { connection, log, clock } = options
  await migrate({ connection, log, clock })
  const database = openDatabase(connection, options)
  try {
    await ensureExtensions(database, log)
    const { connectionsMax, gateways } = options
    if (connectionsMax !== undefined && gateways !== undefined) {
      await checkConnectionLimit(database, { connectionsMax, gateways })
    }
    await acrossOrganisations(database, (queries) => ensureDefaultAccount(queries, clock.now()))
    const pepper = await choosePepper(database, options.pepperFile)
    const { issuer, accessTokenTtl: lifeMs, sessionTtl: sessionLifeMs } = options.config
    const signingKeys = new SigningKeys({ database, pepper, clock, log, tokenLifeMs: lifeMs })
    const usage = new UsageService(database)
    const auth = new AuthService({
      database,
      pepper,
      clock,
      hashPassword,
      usage,
      kpis: options.kpis,
      signingKeys,
      accessTokens: new AccessTokens({ keys: signingKeys, issuer, lifeMs, clock }),
      sessionLifeMs,
      login:
        options.config.oidc && new OidcLogin({ database, pepper, config: options.config.oidc, clock, log }),
    })
    await database.listen(
      REVOCATIONS_CHANNEL,
      (subject) => auth.announceRevocation(subject),
      () => auth.announceRevocation(undefined),
    )
    const responses = new ResponsesService({ database, clock, retentionMs: options.responsesRetentionMs })
    const { vectors, ...keeping } = await startVectors(database, options)
    const upkeep = await Promise.all([
      startUsageUpkeep({ database, retentionMs: options.usageRetentionMs, clock, log }),
      startResponsesUpkeep({ database, clock, log }),
      ...(options.metrics ? [startBudgetWatch({ database, metrics: options.metrics, clock, log })] : []),
    ])
    const stop = async () => {
      await Promise.all([...upkeep, keeping].map((one) => one.stop()))
      await database.close()
    }
    return { auth, usage, spend: new SpendService(database, clock), responses, vectors, stop }
  } catch (reason) {
    await database.close()
    throw reason
  }
}

/** With another pepper than the one they were made with, every key would be refused as if it were forged. */
async function choosePepper(database: Database, path: string): Promise<Buffer> {
  const known = await findPepperFingerprint(database)
  const secret = known ? await readSecret(path) : await readOrCreateSecret(path)
  const pepper = Buffer.from(secret ?? '', 'hex')
  const fingerprint = pepperFingerprint(pepper)
  if (!known) await insertPepperFingerprint(database, fingerprint)
  const stored = known ?? (await findPepperFingerprint(database))
  if (stored?.equals(fingerprint)) return pepper
  throw new HelixError(
    'invalid_configuration',
    `${secret ? 'The API keys in the database were made with another secret than that in' : 'The secret that the API keys in the database were made with is missing:'} ${path}. Copy the file from where the database was made, or restore it from a backup.`,
  )
}
