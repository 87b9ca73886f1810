import { business } from './business.ts'
import { databaseAndCache } from './database-and-cache.ts'
import { gatewayAndLimits } from './gateway-and-limits.ts'
import { modelsAndDevices } from './models-and-devices.ts'
import { overview } from './overview.ts'
import type { Dashboard } from './panel.ts'
import { processesAndMonitoring } from './processes-and-monitoring.ts'
import { realtime } from './realtime.ts'

export const DASHBOARDS: readonly Dashboard[] = [
  overview,
  modelsAndDevices,
  gatewayAndLimits,
  realtime,
  databaseAndCache,
  processesAndMonitoring,
  business,
]
