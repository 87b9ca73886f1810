import type { ConnectRouter } from '@connectrpc/connect'
import { MonitorService } from '../contracts/gen/helixflow/v1/monitor_pb.ts'
import type { MonitorClient } from '../contracts/monitor.ts'
import {
  fromHistoryRequest,
  fromKpisRequest,
  toAlertMessage,
  toHealthMessage,
  toHistoryMessage,
  toKpisMessage,
  toNotificationMessage,
  toSilenceMessage,
} from '../contracts/monitor-messages.ts'
import { answering } from '../contracts/rpc-answers.ts'
import type { Logger } from '../core/log.ts'

/** The monitor's methods, for whatever carries them. */
export function monitorRoutes(monitor: MonitorClient, log: Logger) {
  const told = answering(log)
  return (router: ConnectRouter): void => {
    router.service(MonitorService, {
      getHealth: () => told(async () => toHealthMessage(await monitor.health())),
      readHistory: (request) =>
        told(async () => {
          const series = await monitor.history(fromHistoryRequest(request))
          return { series: series.map(toHistoryMessage) }
        }),
      listAlerts: () => told(async () => ({ alerts: (await monitor.alerts()).map(toAlertMessage) })),
      listSilences: () => told(async () => ({ silences: (await monitor.silences()).map(toSilenceMessage) })),
      createSilence: ({ matchers, untilMs, reason, by }) =>
        told(async () => {
          const silence = await monitor.silence({ matchers, untilMs, reason, by })
          return { silence: toSilenceMessage(silence) }
        }),
      deleteSilence: ({ id }) =>
        told(async () => {
          await monitor.unsilence(id)
          return {}
        }),
      readKpis: (request) => told(async () => toKpisMessage(await monitor.kpis(fromKpisRequest(request)))),
      testReceiver: ({ name }) =>
        told(async () => {
          await monitor.testReceiver(name)
          return {}
        }),
      listNotifications: ({ limit }) =>
        told(async () => ({
          notifications: (await monitor.notifications(limit)).map(toNotificationMessage),
        })),
    })
  }
}
