import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { dirname, join, resolve } from 'node:path'
import { fileURLToPath } from 'node:url'
import { Command } from 'commander'
import { HelixError } from '../core/errors.ts'
import { type CommonOptions, command, runCommand } from './command.ts'

/** The same folder seen from `src/cli` and from `dist/cli`. */
const DEPLOY = fileURLToPath(new URL('../../deploy/', import.meta.url))
/** Of these, what Prometheus and Grafana read. */
const EXPORTED = ['prometheus', 'grafana']
/** Where dashboards look for runbooks, as they are generated. */
const RUNBOOKS = '/public/runbooks'

interface ExportOptions extends CommonOptions {
  readonly to: string
  readonly runbooks?: string
  readonly force?: boolean
}

export function dashboardsCommand(): Command {
  const dashboards = new Command('dashboards').description('Grafana dashboards and Prometheus rules')
  dashboards.addCommand(
    command('export', 'write dashboards, alert rules and their provisioning into a folder')
      .option('--to <folder>', 'where to', 'helixflow-dashboards')
      .option('--runbooks <url>', 'address under which your copy of docs/runbooks can be read')
      .option('--force', 'write over files that are there')
      .action((options: ExportOptions) =>
        runCommand(options, async ({ output }) => {
          const files = exportFiles(options)
          output.result({ files }, () => files.join('\n'))
          return 0
        }),
      ),
  )
  return dashboards
}

/** Nothing is written where a file would have to be overwritten, so that no half of an export is left. */
function exportFiles({ to, runbooks, force }: ExportOptions): string[] {
  const planned = EXPORTED.flatMap(filesBelow).map((path) => ({ path, target: resolve(to, path) }))
  const taken = planned.filter(({ target }) => existsSync(target))
  if (taken.length > 0 && !force) {
    const example = taken[0]?.target
    const text = `${taken.length} files are there already, such as ${example}. --force writes over them.`
    throw new HelixError('conflict', text)
  }
  for (const { path, target } of planned) {
    mkdirSync(dirname(target), { recursive: true })
    writeFileSync(target, exported(path, runbooks))
  }
  return planned.map(({ target }) => target)
}

function filesBelow(folder: string): string[] {
  return readdirSync(join(DEPLOY, folder), { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name).slice(DEPLOY.length))
    .sort()
}

function exported(path: string, runbooks: string | undefined): string {
  const text = readFileSync(join(DEPLOY, path), 'utf8')
  if (runbooks === undefined || !path.endsWith('.json')) return text
  const address = JSON.stringify(runbooks.replace(/\/$/, ''))
  return text.replaceAll(`"${RUNBOOKS}"`, () => address)
}
