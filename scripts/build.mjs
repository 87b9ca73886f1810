// Compiles src to dist and puts the files that are read at run time beside the modules that read them.
import { spawnSync } from 'node:child_process'
import { cpSync, rmSync } from 'node:fs'
import { dirname, extname, join } from 'node:path'
import { fileURLToPath } from 'node:url'

const root = dirname(dirname(fileURLToPath(import.meta.url)))
const ASSETS = new Set(['.sql', '.patch', '.jinja'])

rmSync(join(root, 'dist'), { recursive: true, force: true })
const tsc = join(root, 'node_modules', '.bin', 'tsc')
const { status } = spawnSync(tsc, ['-p', join(root, 'tsconfig.build.json')], { cwd: root, stdio: 'inherit' })
if (status !== 0) process.exit(status ?? 1)
cpSync(join(root, 'src'), join(root, 'dist'), {
  recursive: true,
  filter: (source) => extname(source) === '' || ASSETS.has(extname(source)),
})
