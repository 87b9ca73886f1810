import { type CallOptions, createClient, type Transport } from '@connectrpc/connect'
import { HelixError } from '../core/errors.ts'
import { MonitorService } from './gen/helixflow/v1/monitor_pb.ts'
import type {
  AlertView,
  HealthReport,
  HistoryQuery,
  HistorySeries,
  KpiQuery,
  KpiReport,
  MonitorClient,
  NotificationView,
  Silence,
  SilenceRequest,
} from './monitor.ts'
import {
  fromAlertMessage,
  fromHealthMessage,
  fromHistoryMessage,
  fromKpisMessage,
  fromNotificationMessage,
  fromSilenceMessage,
  toHistoryRequest,
} from './monitor-messages.ts'
import { fromConnectError } from './rpc-errors.ts'

export interface MonitorRpcClientOptions {
  readonly transport: Transport
  /** Longest wait for an answer. */
  readonly timeoutMs: number
}

/** The monitor of another machine, as gateways see it. */
export class MonitorRpcClient implements MonitorClient {
  private readonly client
  private readonly stopping = new AbortController()

  constructor(private readonly options: MonitorRpcClientOptions) {
    this.client = createClient(MonitorService, options.transport)
  }

  async health(): Promise<HealthReport> {
    return fromHealthMessage(await this.call((options) => this.client.getHealth({}, options)))
  }

  async history(query: HistoryQuery): Promise<readonly HistorySeries[]> {
    const { series } = await this.call((options) => this.client.readHistory(toHistoryRequest(query), options))
    return series.map(fromHistoryMessage)
  }

  async alerts(): Promise<readonly AlertView[]> {
    const { alerts } = await this.call((options) => this.client.listAlerts({}, options))
    return alerts.map(fromAlertMessage)
  }

  async silences(): Promise<readonly Silence[]> {
    const { silences } = await this.call((options) => this.client.listSilences({}, options))
    return silences.map(fromSilenceMessage)
  }

  async silence({ matchers, ...rest }: SilenceRequest): Promise<Silence> {
    const request = { ...rest, matchers: { ...matchers } }
    const { silence } = await this.call((options) => this.client.createSilence(request, options))
    if (silence) return fromSilenceMessage(silence)
    throw unreachable('the monitor answered with no silence')
  }

  async unsilence(id: string): Promise<void> {
    await this.call((options) => this.client.deleteSilence({ id }, options))
  }

  async kpis({ organisationId, projectId, ...rest }: KpiQuery): Promise<KpiReport> {
    const whose = {
      ...(organisationId !== undefined && { organisationId }),
      ...(projectId !== undefined && { projectId }),
    }
    const answer = await this.call((options) => this.client.readKpis({ ...rest, ...whose }, options))
    const report = fromKpisMessage(answer)
    if (report) return report
    throw unreachable('the monitor answered with no sums')
  }

  async testReceiver(name: string): Promise<void> {
    await this.call((options) => this.client.testReceiver({ name }, options))
  }

  async notifications(limit: number): Promise<readonly NotificationView[]> {
    const { notifications } = await this.call((options) => this.client.listNotifications({ limit }, options))
    return notifications.map(fromNotificationMessage)
  }

  /** Whoever asks afterwards is refused. */
  async stop(): Promise<void> {
    this.stopping.abort()
  }

  private async call<Answer>(ask: (options: CallOptions) => Promise<Answer>): Promise<Answer> {
    try {
      const { timeoutMs } = this.options
      return await ask({ timeoutMs, signal: this.stopping.signal })
    } catch (reason) {
      throw fromConnectError(reason, unreachable(String(reason)))
    }
  }
}

function unreachable(internal: string): HelixError {
  return new HelixError('monitor_unavailable', 'The monitor cannot be reached. Try again shortly.', {
    internal,
  })
}
