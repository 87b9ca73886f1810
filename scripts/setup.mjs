// Makes a fresh clone ready: dependencies when they are missing or stale, and with --build the compiled program.
// Runs before `npm start` and `npm test`; does nothing when nothing has changed.
import { spawnSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'

const root = dirname(dirname(fileURLToPath(import.meta.url)))
const [major, minor] = process.versions.node.split('.').map(Number)
if (major < 20 || (major === 20 && minor < 20)) {
  fail(`HelixFlow needs Node 20.20 or newer; this is ${process.versions.node}.`)
}

whenChanged('dependencies', ['package.json', 'package-lock.json'], 'node_modules/.bin/tsc', () => {
  say('installing dependencies ...')
  // Nothing here needs an install script, so none is run.
  keepingCache(() => run('npm', ['ci', '--ignore-scripts', '--no-audit', '--no-fund', '--loglevel=error']))
})
if (process.argv.includes('--build')) {
  whenChanged(
    'build',
    ['package.json', 'tsconfig.json', 'tsconfig.build.json', 'tsconfig.client.json', 'scripts', 'src'],
    'dist/main.js',
    () => {
      say('building ...')
      run(process.execPath, [join(root, 'scripts', 'build.mjs')])
    },
  )
}

function whenChanged(name, inputs, product, work) {
  const stamp = join(root, 'node_modules', '.cache', 'helixflow', `${name}.sha256`)
  const hash = hashOf(inputs.map((input) => join(root, input)))
  const done = existsSync(stamp) && existsSync(join(root, product)) && readFileSync(stamp, 'utf8') === hash
  if (done) return
  work()
  mkdirSync(dirname(stamp), { recursive: true })
  writeFileSync(stamp, hash)
}

/** npm empties node_modules, and with it what took minutes to build, which other dependencies do not change. */
function keepingCache(work) {
  const cache = join(root, 'node_modules', '.cache')
  const kept = join(root, '.cache-kept')
  if (existsSync(cache) && !existsSync(kept)) renameSync(cache, kept)
  work()
  if (existsSync(kept)) renameSync(kept, cache)
}

function hashOf(paths) {
  const hash = createHash('sha256').update(process.version)
  for (const path of paths.flatMap(filesUnder)) hash.update(path).update(readFileSync(path))
  return hash.digest('hex')
}

function filesUnder(path) {
  if (!existsSync(path)) return []
  try {
    return readdirSync(path)
      .sort()
      .flatMap((name) => filesUnder(join(path, name)))
  } catch {
    return [path]
  }
}

function run(command, args) {
  const { status, error } = spawnSync(command, args, { cwd: root, stdio: ['ignore', 2, 2] })
  if (error) fail(`${command} could not be started: ${error.message}`)
  if (status !== 0) fail(`${command} ${args.join(' ')} failed; see above.`)
}

function say(text) {
  process.stderr.write(`helixflow: ${text}\n`)
}

function fail(text) {
  say(text)
  process.exit(1)
}
