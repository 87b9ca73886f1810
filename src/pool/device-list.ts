import type { DeviceReport } from '../contracts/node.ts'
import type { DeviceView } from '../contracts/pool.ts'
import type { ClusterState } from '../scheduler/state.ts'
import { viewOf } from '../scheduler/view.ts'

/** Devices as the operator sees them: what they report, beside what the scheduler reckons lies on them. */
export function listDevices(
  state: ClusterState,
  reportsByNode: ReadonlyMap<string, readonly DeviceReport[]>,
): readonly DeviceView[] {
  const view = viewOf(state, 0)
  return [...reportsByNode].flatMap(([node, reports]) =>
    reports.map((report) => ({
      ...{ id: report.id, node, kind: report.kind, name: report.name, health: report.health },
      ...{ reason: report.reason, totalBytes: report.totalBytes, foreignBytes: report.foreignBytes },
      freeBytes: view.freeBytes.get(report.id) ?? 0,
      ...{ utilization: report.utilization, temperatureCelsius: report.temperatureCelsius },
      powerWatts: report.powerWatts,
      instances: (view.instancesOn.get(report.id) ?? []).map(({ id, spec, state: phase, shares }) => ({
        ...{ id, model: spec.name, state: phase },
        bytes: shares.find(({ deviceId }) => deviceId === report.id)?.bytes ?? 0,
      })),
    })),
  )
}
