// Compiles src to dist and puts the files that are read at run time beside the modules that read them. The client is
// compiled once more, with what a browser has and nothing of Node, for its types. The finished build takes the place of
// the old one at once: a program that starts meanwhile finds either.
import { spawnSync } from 'node:child_process'
import { cpSync, renameSync, rmSync } from 'node:fs'
import { dirname, extname, join } from 'node:path'
import { fileURLToPath } from 'node:url'

const root = dirname(dirname(fileURLToPath(import.meta.url)))
const ASSETS = new Set(['.sql', '.patch', '.jinja', '.lua'])
const fresh = join(root, 'node_modules', '.cache', 'helixflow', `dist-${process.pid}`)
const old = `${fresh}-old`

const tsc = join(root, 'node_modules', '.bin', 'tsc')
for (const project of ['tsconfig.build.json', 'tsconfig.client.json']) {
  const options = { cwd: root, stdio: 'inherit' }
  const { status } = spawnSync(tsc, ['-p', join(root, project), '--outDir', fresh], options)
  if (status === 0) continue
  rmSync(fresh, { recursive: true, force: true })
  process.exit(status ?? 1)
}
cpSync(join(root, 'src'), fresh, {
  recursive: true,
  filter: (source) => extname(source) === '' || ASSETS.has(extname(source)),
})
try {
  renameSync(join(root, 'dist'), old)
} catch (reason) {
  if (reason.code !== 'ENOENT') throw reason
}
renameSync(fresh, join(root, 'dist'))
rmSync(old, { recursive: true, force: true })
