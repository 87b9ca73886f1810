import { create, type MessageInitShape } from '@bufbuild/protobuf'
import {
  type AlertView as AlertViewMessage,
  AlertViewSchema,
  type GetHealthResponse,
  GetHealthResponseSchema,
  type HistorySeries as HistorySeriesMessage,
  HistorySeriesSchema,
  type KpiRow as KpiRowMessage,
  type NotificationView as NotificationMessage,
  NotificationViewSchema,
  type Range as RangeMessage,
  type ReadHistoryRequest,
  ReadHistoryRequestSchema,
  type ReadKpisRequest,
  type ReadKpisResponse,
  ReadKpisResponseSchema,
  type Silence as SilenceMessage,
  SilenceSchema,
} from './gen/helixflow/v1/monitor_pb.ts'
import {
  type AlertView,
  COMPONENT_KINDS,
  type HealthReport,
  type HistoryQuery,
  type HistorySeries,
  type KpiQuery,
  type KpiReport,
  type KpiRow,
  NOTIFICATION_OUTCOMES,
  type NotificationView,
  type Range,
  RESOLUTIONS,
  SEVERITIES,
  type Silence,
} from './monitor.ts'
import { toMember } from './wire-values.ts'

// What the monitor says and hears, between this program's own types and those of the wire.

const HEALTHS = ['healthy', 'degraded', 'failed', 'unknown'] as const
const VERDICTS = ['healthy', 'degraded', 'failed'] as const
const ALERT_STATES = ['pending', 'firing', 'resolved'] as const
const NOTIFICATION_STATES = ['firing', 'resolved'] as const
const GROUPINGS = ['organisation', 'project', 'model'] as const

export function toHealthMessage({ verdict, reasons, components, atMs }: HealthReport): GetHealthResponse {
  return create(GetHealthResponseSchema, {
    ...{ verdict, reasons: [...reasons], atMs },
    components: components.map((one) => ({ ...one })),
  })
}

/** @throws HelixError `invalid_value` */
export function fromHealthMessage({ verdict, reasons, components, atMs }: GetHealthResponse): HealthReport {
  return {
    verdict: toMember(VERDICTS, verdict),
    reasons,
    components: components.map(({ kind, name, health, reason, remedy }) => ({
      ...{ kind: toMember(COMPONENT_KINDS, kind), name, health: toMember(HEALTHS, health), reason, remedy },
    })),
    atMs,
  }
}

export function toHistoryRequest({ figures = [], ...rest }: HistoryQuery): ReadHistoryRequest {
  return create(ReadHistoryRequestSchema, { ...rest, figures: [...figures] })
}

/** @throws HelixError `invalid_value` */
export function fromHistoryRequest(message: ReadHistoryRequest): HistoryQuery {
  const { figures, fromMs, toMs, resolution } = message
  return {
    ...{ fromMs, toMs },
    figures: figures.length > 0 ? figures : undefined,
    resolution: resolution === undefined ? undefined : toMember(RESOLUTIONS, resolution),
  }
}

export function toHistoryMessage({ labels, points, ...rest }: HistorySeries): HistorySeriesMessage {
  return create(HistorySeriesSchema, {
    ...rest,
    labels: { ...labels },
    points: points.map((point) => ({ ...point })),
  })
}

/** @throws HelixError `invalid_value` */
export function fromHistoryMessage(message: HistorySeriesMessage): HistorySeries {
  const { figure, title, unit, labels, resolution, points } = message
  return {
    ...{ figure, title, unit, labels, resolution: toMember(RESOLUTIONS, resolution) },
    points: points.map(({ atMs, value, low, high }) => ({ atMs, value, low, high })),
  }
}

export function toAlertMessage({ labels, ...rest }: AlertView): AlertViewMessage {
  return create(AlertViewSchema, { ...rest, labels: { ...labels } })
}

/** @throws HelixError `invalid_value` */
export function fromAlertMessage(message: AlertViewMessage): AlertView {
  const { alert, labels, value, summary, action, runbook, sinceMs, silencedBy, inhibitedBy } = message
  return {
    ...{ alert, labels, value, summary, action, runbook, sinceMs, silencedBy, inhibitedBy },
    severity: toMember(SEVERITIES, message.severity),
    state: toMember(ALERT_STATES, message.state),
  }
}

export function toSilenceMessage({ matchers, ...rest }: Silence): SilenceMessage {
  return create(SilenceSchema, { ...rest, matchers: { ...matchers } })
}

export function fromSilenceMessage(message: SilenceMessage): Silence {
  const { id, matchers, untilMs, reason, by, createdAtMs } = message
  return { id, matchers, untilMs, reason, by, createdAtMs }
}

export function toNotificationMessage(view: NotificationView): NotificationMessage {
  return create(NotificationViewSchema, view)
}

/** @throws HelixError `invalid_value` */
export function fromNotificationMessage(message: NotificationMessage): NotificationView {
  const { id, receiver, alert, severity, status, alerts, summary } = message
  const { reminder, atMs, attempts, outcome, doneAtMs } = message
  return {
    ...{ id, receiver, alert, severity: toMember(SEVERITIES, severity) },
    ...{ status: toMember(NOTIFICATION_STATES, status), alerts, summary, reminder, atMs, attempts },
    outcome: outcome === undefined ? undefined : toMember(NOTIFICATION_OUTCOMES, outcome),
    doneAtMs,
  }
}

/** @throws HelixError `invalid_value` */
export function fromKpisRequest(message: ReadKpisRequest): KpiQuery {
  const { organisationId, projectId, fromMs, toMs, groupBy } = message
  return { organisationId, projectId, fromMs, toMs, groupBy: toMember(GROUPINGS, groupBy) }
}

export function toKpisMessage({ total, rows, forecast }: KpiReport): ReadKpisResponse {
  return create(ReadKpisResponseSchema, {
    ...{ total, rows: [...rows] },
    ...(forecast && { forecast }),
  } satisfies MessageInitShape<typeof ReadKpisResponseSchema>)
}

/** Undefined for an answer without its sums, which no monitor gives. */
export function fromKpisMessage({ total, rows, forecast }: ReadKpisResponse): KpiReport | undefined {
  if (!total) return undefined
  const { month, requests, tokens, cost } = forecast ?? {}
  const expected = month !== undefined && requests && tokens && cost
  return {
    total: fromKpiRow(total),
    rows: rows.map(fromKpiRow),
    forecast: expected
      ? { month, requests: fromRange(requests), tokens: fromRange(tokens), cost: fromRange(cost) }
      : undefined,
  }
}

function fromKpiRow({ $typeName: _type, $unknown: _unknown, ...row }: KpiRowMessage): KpiRow {
  const { deviceCost, deviceCostPerMillionTokens } = row
  const { durationP50Ms, durationP95Ms, firstTokenP50Ms, firstTokenP95Ms } = row
  const perhaps = { durationP50Ms, durationP95Ms, firstTokenP50Ms, firstTokenP95Ms }
  return { ...row, ...perhaps, deviceCost, deviceCostPerMillionTokens }
}

function fromRange({ soFar, likely, low, high }: RangeMessage): Range {
  return { soFar, likely, low, high }
}
