import { z } from 'zod'
import { HelixError } from '../core/errors.ts'
import { CacheSettings } from './cache-settings.ts'
import { EngineSettings } from './engine-settings.ts'
import { MonitorSettings } from './monitor-settings.ts'
import { duration, money, size } from './quantities.ts'
import { RealtimeSettings } from './realtime-settings.ts'
import { RpcSettings } from './rpc-settings.ts'
import { SchedulerSettings } from './scheduler-settings.ts'
import { TracingSettings } from './tracing-settings.ts'

const port = z.int().min(0).max(65_535)

const Gateway = z.strictObject({
  host: z
    .string()
    .default('127.0.0.1')
    .describe('Address to listen on. Loopback unless you choose otherwise.'),
  port: port.default(8443).describe('0 takes any free port.'),
  bodyLimit: size().prefault('8MiB').describe('Largest request body; larger ones are answered 413.'),
  loadWait: duration()
    .prefault('30s')
    .describe('How long a request waits for its model to load before 503 model_loading.'),
  waitNotice: duration()
    .prefault('10s')
    .describe('How often a stream that waits for its model is told so, by a comment that clients skip.'),
  queueMax: z
    .int()
    .min(0)
    .max(100_000)
    .default(512)
    .describe('Requests that may wait for a free slot, per model.'),
  queueTimeout: duration().prefault('60s').describe('Longest wait for a free slot, then 503 queue_timeout.'),
  firstByteTimeout: duration()
    .prefault('5m')
    .describe('Longest wait for the first byte of an answer, then 504 upstream_timeout.'),
  stallTimeout: duration()
    .prefault('60s')
    .describe('Longest silence inside a stream, then it fails with an error event.'),
  requestDeadline: duration().prefault('30m').describe('Longest time for one request in all.'),
  drainGrace: duration().prefault('30s').describe('After SIGTERM: time for running streams to finish.'),
  keyCacheTtl: duration()
    .prefault('10s')
    .describe(
      'A verified API key is trusted this long without asking again; a revocation is pushed at once.',
    ),
  keyCacheMax: z.int().min(1).max(10_000_000).default(10_000).describe('Verified API keys kept in memory.'),
  keyGrace: duration()
    .prefault('60s')
    .describe('While the database is away, a key that was good before is accepted this long.'),
  canaryInterval: duration()
    .nullable()
    .prefault('60s')
    .describe(
      'How often a replica of your own engines that was idle is asked for one token, to see whether it works; null: never. It counts as no use and is not billed.',
    ),
  trustedProxies: z
    .array(z.string())
    .default([])
    .describe('Addresses or networks of proxies whose X-Forwarded-For is believed.'),
})

const databasePool = {
  connectionsMin: z
    .int()
    .min(0)
    .max(1_000)
    .default(4)
    .describe('Connections that are opened at the start and kept open.'),
  gateways: z
    .int()
    .min(1)
    .max(1_000)
    .default(1)
    .describe(
      'How many gateways share the database; the start fails when it has too few connections for all.',
    ),
  acquireTimeout: duration().prefault('50ms').describe('Wait for a free connection, then fail the request.'),
  queryTimeout: duration().prefault('5s').describe('Longest time for one statement.'),
}

const Database = z.discriminatedUnion('driver', [
  z.strictObject({
    driver: z.literal('embedded'),
    directory: z.string().optional().describe('Data directory; by default `postgres` in the data folder.'),
    binaries: z.string().optional().describe('Folder with initdb and postgres, instead of the ones found.'),
    connectionsMax: z.int().min(1).max(200).default(20).describe('Upper bound of the pool.'),
    ...databasePool,
  }),
  z.strictObject({
    driver: z.literal('postgres'),
    url: z.string().describe('postgres://user:password@host:5432/database'),
    replicaUrls: z
      .array(z.string())
      .default([])
      .describe('With driver postgres: streaming replicas that answer reads when they are not far behind.'),
    connectionsMax: z.int().min(1).max(1_000).default(20).describe('Upper bound of the pool.'),
    ...databasePool,
  }),
])

const Backup = z.strictObject({
  enabled: z
    .boolean()
    .default(true)
    .describe('false: no backups, and the log of the embedded database is never archived.'),
  directory: z
    .string()
    .optional()
    .describe('Where backups go; by default `backups` beside the data directory. Another disk is safer.'),
  schedule: duration()
    .nullable()
    .default(null)
    .describe('Time from one backup to the next, such as 24h; null: only when asked.'),
  keep: z
    .int()
    .min(1)
    .max(10_000)
    .default(7)
    .describe('The newest backups are kept, with the log that leads from the oldest of them to now.'),
  secrets: z
    .boolean()
    .default(true)
    .describe(
      'Whether the secrets that the data needs go into scheduled backups; false: keep them elsewhere.',
    ),
})

const contextLength = z
  .int()
  .min(64)
  .max(2 ** 27)
// llama.cpp is compiled for this many sequences.
const slots = z.int().min(1).max(256)

const ModelSettings = z.strictObject({
  contextLength: contextLength.optional(),
  slots: slots.optional(),
  keepAlive: duration().optional(),
  chatTemplate: z.string().optional(),
  engine: z.enum(['llama-server', 'vllm', 'sglang']).optional(),
  path: z.string().min(1).optional(),
  engineArguments: z.array(z.string()).optional(),
  devices: z.array(z.string().min(1)).min(1).optional(),
  group: z.string().optional(),
  pinned: z.boolean().optional(),
  priority: z.int().min(-100).max(100).optional(),
  replicasMin: z.int().min(0).max(1_000).optional(),
  replicasMax: z.int().min(1).max(1_000).optional(),
  splitMax: z.int().min(1).max(64).optional(),
})

const Models = z.strictObject({
  directory: z.string().optional().describe('Where model files lie; by default `models` in the data folder.'),
  default: z
    .string()
    .nullable()
    .default('smollm2-135m-instruct')
    .describe('Fetched at the first start and loaded at each; null for none.'),
  contextLength: contextLength
    .default(4_096)
    .describe(
      'Tokens of prompt and answer together for one request, at most what the model was trained for.',
    ),
  slots: slots.default(4).describe('Requests that one replica works on at the same time.'),
  keepAlive: duration()
    .prefault('1h')
    .describe(
      'An idle model is unloaded after this time, also when nobody else wants its memory; when somebody does, before.',
    ),
  huggingFaceEndpoint: z
    .string()
    .default('https://huggingface.co')
    .describe('A mirror of Hugging Face; HF_ENDPOINT is read too.'),
  perModel: z
    .record(z.string(), ModelSettings)
    .prefault({ 'smollm2-135m-instruct': { chatTemplate: 'chatml-tools' } })
    .describe(
      'Settings of single models by name: contextLength, slots, keepAlive, chatTemplate (a path, or chatml-tools), engine (llama-server, vllm, sglang), path (of a folder with config.json and safetensors, for vLLM and SGLang), engineArguments (added to their command line), devices (ids of devices or nodes, or cuda, rocm, metal, cpu: nowhere else), group (of scheduler.groups), pinned (stays loaded), priority (-100 to 100; 0), replicasMin (0), replicasMax (1), splitMax (devices that it may be split over; 8).',
    ),
})

const modelName = z.string().min(1).max(256)

const Upstream = z.strictObject({
  name: z.string().regex(/^[a-z0-9][a-z0-9-]{0,62}$/),
  url: z.url({ protocol: /^https?$/ }),
  apiKey: z.string().optional(),
  models: z.array(z.union([modelName, z.strictObject({ name: modelName, as: modelName })])).min(1),
  slots: z.int().min(1).max(100_000).default(64),
  weight: z.number().min(0.001).max(1_000).default(1),
  fallback: z.boolean().default(false),
  continues: z.boolean().default(false),
})

const GroupRole = z
  .strictObject({
    role: z.enum(['owner', 'admin', 'developer', 'viewer', 'billing']),
    project: z.string().min(1).max(64).optional(),
  })
  .refine(({ role, project }) => role !== 'owner' || project === undefined, 'a project has no owner')

const Oidc = z.strictObject({
  issuer: z
    .url({ protocol: /^https?$/ })
    .refine(isSafeIssuer, 'must begin with https://, unless the provider runs on this very machine'),
  clientId: z.string().min(1),
  clientSecret: z.string().min(1),
  scopes: z
    .array(z.string().regex(/^[\x21\x23-\x5b\x5d-\x7e]+$/))
    .refine((scopes) => scopes.includes('openid'), "must hold 'openid'")
    .default(['openid', 'email', 'profile']),
  groupsClaim: z.string().min(1).default('groups'),
  organisation: z
    .string()
    .regex(/^org_[0-9A-Za-z_]+$/)
    .default('org_default'),
  roles: z.record(z.string().min(1), GroupRole),
})

/** Whoever can read or change what a provider says can be anybody here. */
function isSafeIssuer(issuer: string): boolean {
  // Also asked about what was refused already.
  if (!URL.canParse(issuer)) return false
  const { protocol, hostname } = new URL(issuer)
  return protocol === 'https:' || /^(localhost|127(\.\d{1,3}){3}|\[::1\])$/.test(hostname)
}

const Auth = z.strictObject({
  issuer: z
    .string()
    .min(1)
    .default('helixflow')
    .describe('`iss` of access tokens; your address, where others read them.'),
  accessTokenTtl: duration().prefault('10m').describe('Life of an access token.'),
  sessionTtl: duration().prefault('30d').describe('How long a login can be renewed.'),
  oidc: Oidc.optional().describe(
    'Login at an OpenID Connect provider: issuer, clientId, clientSecret, scopes, groupsClaim, organisation, and roles, such as {staff: {role: developer}, leads: {role: admin, project: proj_x}}.',
  ),
})

const Usage = z.strictObject({
  retention: duration()
    .prefault('400d')
    .describe('How long the record of a request is kept; whole months are dropped.'),
  spoolMax: size()
    .prefault('64MiB')
    .describe(
      'Disk space for records that the database has not taken yet. When it is full, or the disk is, requests are answered 503 storage_unavailable.',
    ),
})

const Responses = z.strictObject({
  retention: duration()
    .prefault('30d')
    .describe('How long a response is kept that was asked for with store: true, which is the default.'),
})

const Redis = z
  .strictObject({
    urls: z
      .array(z.url({ protocol: /^rediss?$/ }))
      .default([])
      .describe(
        'redis://user:password@host:6379/0, or rediss:// for TLS; several for a cluster or for sentinels. None: limits, cache and streams are kept in this process, which is right for one gateway.',
      ),
    mode: z
      .enum(['single', 'cluster', 'sentinel'])
      .default('single')
      .describe('What the urls are: one server, nodes of a cluster, or sentinels.'),
    sentinelName: z.string().min(1).default('mymaster').describe('The name that the sentinels watch.'),
    prefix: z
      .string()
      .regex(/^[\w:.-]{1,64}$/)
      .default('helixflow')
      .describe('Begins every key, for servers that are shared with others.'),
    timeout: duration()
      .prefault('25ms')
      .describe(
        'Longest wait for Redis; after it each gateway goes on with its share of every limit, and with its own streams.',
      ),
  })
  .refine(({ mode, urls }) => mode !== 'single' || urls.length <= 1, {
    path: ['urls'],
    message: 'several need mode: cluster or mode: sentinel',
  })
  .refine(({ mode, urls }) => mode === 'single' || urls.length > 0, {
    path: ['urls'],
    message: 'name at least one',
  })
const Price = z
  .strictObject({ input: money(), cachedInput: money().optional(), output: money() })
  .transform(({ cachedInput, ...price }) => ({ ...price, cachedInput: cachedInput ?? price.input }))

const Metrics = z.strictObject({
  enabled: z.boolean().default(true),
  host: z.string().default('127.0.0.1').describe('Address that Prometheus reads /metrics from.'),
  port: port.default(9464).describe('0 takes any free port.'),
})

const Limits = z.strictObject({
  outputTokens: z
    .int()
    .min(1)
    .max(2 ** 31 - 1)
    .default(4_096)
    .describe(
      'Under limits of tokens or money, an answer gets so many at most when its request does not say: they are reserved before it begins.',
    ),
})

const Log = z.strictObject({
  level: z.enum(['debug', 'info', 'warn', 'error', 'silent']).default('info'),
  format: z
    .enum(['auto', 'json', 'text'])
    .default('auto')
    .describe('auto: text in a terminal, JSON lines elsewhere.'),
})

/** The whole of helixflow.yaml. An unknown key is an error: a typo must not pass silently. */
export const Config = z.strictObject({
  gateway: Gateway.prefault({}).describe('The OpenAI-compatible endpoint.'),
  database: Database.prefault({ driver: 'embedded' }).describe('driver: embedded, or postgres with a url.'),
  backup: Backup.prefault({}).describe('Backups of the database, and recovery to any moment since.'),
  models: Models.prefault({}).describe('Model files and how they are loaded.'),
  engines: EngineSettings.prefault({}).describe('The processes that run models.'),
  scheduler: SchedulerSettings.prefault({}).describe('Which models are loaded where, and who is next.'),
  upstreams: z
    .array(Upstream)
    .default([])
    .describe(
      'Other OpenAI-compatible servers: name, url, apiKey, models (their names, or {name: ours, as: theirs}), slots (requests at a time), weight (1; its share beside others that have the model), fallback (asked only while no other may be), continues (whether it knows continue_final_message, as vLLM, SGLang and llama-server do: then a stream survives the gateway that began it).',
    ),
  auth: Auth.prefault({}).describe('Tokens and logins.'),
  rpc: RpcSettings.prefault({}).describe('How the services of several machines reach each other.'),
  redis: Redis.prefault({}).describe('Shared by several gateways: limits, cache, streams.'),
  limits: Limits.prefault({}).describe('How limits and budgets are kept; the rules are set at run time.'),
  metrics: Metrics.prefault({}).describe('For Prometheus.'),
  monitor: MonitorSettings.prefault({}).describe('Health, history and alerts.'),
  tracing: TracingSettings.prefault({}).describe('Where each request spends its time, for OpenTelemetry.'),
  cache: CacheSettings.prefault({}).describe('Answers that are given again instead of being made again.'),
  realtime: RealtimeSettings.prefault({}).describe('WebSockets, and streams that can be continued.'),
  usage: Usage.prefault({}).describe('What each request cost, kept in the database.'),
  responses: Responses.prefault({}).describe('Answers of the Responses API, kept in the database.'),
  prices: z
    .record(z.string().min(1).max(256), Price)
    .default({})
    .describe(
      "What a million tokens of a model cost, for budgets and usage: {'my-model': {input: 0.15, cachedInput: 0.075, output: 0.6}, '*': {input: 1, output: 2}}; cachedInput is input where it is not given, '*' any other model.",
    ),
  log: Log.prefault({}).describe('Logs go to standard error.'),
})

export type Config = z.output<typeof Config>
export type ModelSettings = z.output<typeof ModelSettings>
export type OidcConfig = z.output<typeof Oidc>
export type UpstreamConfig = z.output<typeof Upstream>

/**
 * Validates everything before anything starts, and reports every mistake at once.
 * @throws HelixError `invalid_configuration`
 */
export function parseConfig(input: unknown): Config {
  const result = Config.safeParse(input)
  if (result.success) return result.data
  const mistakes = result.error.issues.map(
    (issue) => `  ${issue.path.join('.') || '(top level)'}: ${issue.message}`,
  )
  throw new HelixError('invalid_configuration', `Invalid configuration:\n${mistakes.join('\n')}`)
}
