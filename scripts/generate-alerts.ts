import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { alertRulesFile } from '../src/cli/alert-rules-file.ts'

/** Writes what is made of the table of alerts. */
const root = join(import.meta.dirname, '..')
mkdirSync(join(root, 'deploy', 'prometheus'), { recursive: true })
writeFileSync(join(root, 'deploy', 'prometheus', 'alerts.yaml'), alertRulesFile())
