import { mkdirSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { DASHBOARDS } from './dashboards.ts'
import { textOf } from './render.ts'

/** Writes every dashboard to deploy/grafana/dashboards; what is none any more goes. */
const directory = join(import.meta.dirname, '..', 'deploy', 'grafana', 'dashboards')
mkdirSync(directory, { recursive: true })
for (const name of readdirSync(directory)) if (name.endsWith('.json')) rmSync(join(directory, name))
for (const dashboard of DASHBOARDS) writeFileSync(join(directory, `${dashboard.uid}.json`), textOf(dashboard))
