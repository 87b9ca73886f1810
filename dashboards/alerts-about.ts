import type { Panel } from './panel.ts'

/** Names of the alerts about what a panel shows, the gravest first: their runbooks are linked. */
export function alertsAbout(_panel: Panel): readonly string[] {
  return []
}
