// The whole suite: unit, integration and end-to-end tests. Arguments go to vitest.
import { spawnSync } from 'node:child_process'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'

const root = dirname(dirname(fileURLToPath(import.meta.url)))
const vitest = join(root, 'node_modules', '.bin', 'vitest')
const projects = ['unit', 'integration', 'e2e', 'alone'].flatMap((project) => ['--project', project])
const { status } = spawnSync(vitest, ['run', ...projects, ...process.argv.slice(2)], {
  cwd: root,
  stdio: 'inherit',
})
process.exit(status ?? 1)
