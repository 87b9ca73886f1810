/**
 * What the monitor knows of the whole platform: it reads the metrics of every process, judges them, keeps the key figures
 * and tells people. It never stands in the way of a request.
 */
export interface MonitorClient {
  /** @throws HelixError `monitor_unavailable` where it does not answer */
  health(): Promise<HealthReport>
  /** Key figures over a span of time. @throws HelixError `invalid_value`, `storage_unavailable`, `monitor_unavailable` */
  history(query: HistoryQuery): Promise<readonly HistorySeries[]>
  /** What pends or fires now, the gravest first, and what was resolved lately. */
  alerts(): Promise<readonly AlertView[]>
  silences(): Promise<readonly Silence[]>
  /** @throws HelixError `invalid_value`, `storage_unavailable` */
  silence(request: SilenceRequest): Promise<Silence>
  /** @throws HelixError `not_found`, `storage_unavailable` */
  unsilence(id: string): Promise<void>
  /** @throws HelixError `invalid_value`, `storage_unavailable` */
  kpis(query: KpiQuery): Promise<KpiReport>
  /** Sends a test notification to a receiver and says what became of it. @throws HelixError `not_found`, `notification_failed` */
  testReceiver(name: string): Promise<void>
  /** What receivers were told and are to be told, the newest first. @throws HelixError `storage_unavailable` */
  notifications(limit: number): Promise<readonly NotificationView[]>
}

export const COMPONENT_KINDS = [
  'service',
  'node',
  'device',
  'engine',
  'model',
  'database',
  'replica',
  'redis',
  'disk',
  'certificate',
  'backup',
] as const
export type ComponentKind = (typeof COMPONENT_KINDS)[number]

/** `degraded`: it works, less well or not for long; `failed`: it does not work; `unknown`: nobody says. */
export type Health = 'healthy' | 'degraded' | 'failed' | 'unknown'

export interface ComponentHealth {
  readonly kind: ComponentKind
  /** Such as `GPU-1a2b`, `smollm2-135m-instruct`, `gateway 10.0.0.4:9464`. */
  readonly name: string
  readonly health: Health
  /** In words what is wrong; absent where it is healthy. */
  readonly reason?: string | undefined
  /** What to do about it. */
  readonly remedy?: string | undefined
}

export interface HealthReport {
  /** One word for all of it: `failed` where requests fail, `degraded` where something needs a person. */
  readonly verdict: Exclude<Health, 'unknown'>
  /** In words why it is not healthy; empty where it is. */
  readonly reasons: readonly string[]
  readonly components: readonly ComponentHealth[]
  /** When it was found out. */
  readonly atMs: number
}

export const RESOLUTIONS = ['10s', '1m', '1h'] as const
export type Resolution = (typeof RESOLUTIONS)[number]

export interface HistoryQuery {
  /** Key figures by name; all where none is named. */
  readonly figures?: readonly string[] | undefined
  readonly fromMs: number
  readonly toMs: number
  /** Undefined: the finest that is kept for the whole span. Never more than 1,000 points a series: then several are one. */
  readonly resolution?: Resolution | undefined
}

export interface HistorySeries {
  readonly figure: string
  readonly title: string
  readonly unit: string
  readonly labels: Readonly<Record<string, string>>
  readonly resolution: Resolution
  readonly points: readonly HistoryPoint[]
}

/** A figure over the time that begins at `atMs`; of a coarse point, what the finer ones within were at most and at least. */
export interface HistoryPoint {
  readonly atMs: number
  readonly value: number
  readonly low: number
  readonly high: number
}

export const SEVERITIES = ['critical', 'warning', 'info'] as const
export type Severity = (typeof SEVERITIES)[number]
export type AlertState = 'pending' | 'firing' | 'resolved'

export interface AlertView {
  readonly alert: string
  readonly severity: Severity
  readonly state: AlertState
  readonly labels: Readonly<Record<string, string>>
  /** The figure that made it; undefined once it is resolved. */
  readonly value: number | undefined
  /** What it means, in one sentence with its figures. */
  readonly summary: string
  /** What to do. */
  readonly action: string
  /** Path of its page under `docs/`. */
  readonly runbook: string
  /** Of this state. */
  readonly sinceMs: number
  /** The silence that keeps it from being told. */
  readonly silencedBy?: string | undefined
  /** The alert that explains it, so that it is not told by itself. */
  readonly inhibitedBy?: string | undefined
}

export interface SilenceRequest {
  /** Alerts with all of these: `alert` is the name, anything else a label. */
  readonly matchers: Readonly<Record<string, string>>
  readonly untilMs: number
  readonly reason: string
  /** Who asked for it. */
  readonly by: string
}

export interface Silence extends SilenceRequest {
  readonly id: string
  readonly createdAtMs: number
}

export const NOTIFICATION_OUTCOMES = ['delivered', 'refused', 'expired', 'superseded', 'dropped'] as const
/** `superseded`: a later word about the same group got there first. `dropped`: there was no room to keep it. */
export type NotificationOutcome = (typeof NOTIFICATION_OUTCOMES)[number]

/** What one receiver is told of one group of alerts. */
export interface NotificationView {
  readonly id: string
  readonly receiver: string
  readonly alert: string
  readonly severity: Severity
  readonly status: 'firing' | 'resolved'
  /** How many alerts of that name it tells of. */
  readonly alerts: number
  /** Of the first of them. */
  readonly summary: string
  /** Nothing had changed since the receiver was told of it last. */
  readonly reminder: boolean
  readonly atMs: number
  /** How often it was tried. */
  readonly attempts: number
  /** Undefined while it is to be delivered. */
  readonly outcome?: NotificationOutcome | undefined
  readonly doneAtMs?: number | undefined
}

export interface KpiQuery {
  /** Undefined: of all organisations, for the operator. */
  readonly organisationId?: string | undefined
  readonly projectId?: string | undefined
  readonly fromMs: number
  readonly toMs: number
  readonly groupBy: 'organisation' | 'project' | 'model'
}

export interface KpiReport {
  readonly total: KpiRow
  /** The costliest first. */
  readonly rows: readonly KpiRow[]
  /** For the running month (UTC); undefined where the span ends before now, or less than a day is known. */
  readonly forecast: MonthForecast | undefined
}

export interface KpiRow {
  /** The organisation, project or model; `total` for all. */
  readonly group: string
  readonly requests: number
  readonly errors: number
  readonly promptTokens: number
  readonly cachedTokens: number
  readonly completionTokens: number
  /** Answers that were kept or shared, as a share of all. */
  readonly cacheHitRatio: number
  /** By the price list, in billionths. */
  readonly cost: number
  /** What the devices cost that its own models lay on, in billionths; undefined where `monitor.deviceCosts` has no price. */
  readonly deviceCost: number | undefined
  /** That, for a million completion tokens of our own engines. */
  readonly deviceCostPerMillionTokens: number | undefined
  readonly durationP50Ms: number | undefined
  readonly durationP95Ms: number | undefined
  readonly firstTokenP50Ms: number | undefined
  readonly firstTokenP95Ms: number | undefined
  /** Keys and people that asked for something. */
  readonly activeUsers: number
}

/** Sums until the end of the month, if it goes on as it did, with the range in which 80 % of such months would end. */
export interface MonthForecast {
  readonly month: string
  readonly requests: Range
  readonly tokens: Range
  /** In billionths. */
  readonly cost: Range
}

export interface Range {
  readonly soFar: number
  readonly likely: number
  readonly low: number
  readonly high: number
}
