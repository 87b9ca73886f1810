import { usageOperations } from '../contracts/administration/usage.ts'
import { kpiText } from './kpi-text.ts'

/** What `helixflow usage kpis` shows of the operation's answer. */
export function usageKpisText(answer: Readonly<Record<string, unknown>>): string {
  const { data, ...report } = usageOperations['usage.kpis'].output.parse(answer)
  return kpiText({ rows: data, ...report }, 'group')
}
