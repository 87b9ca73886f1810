import { spawnSync } from 'node:child_process'
import { cpSync, existsSync, mkdirSync, readFileSync } from 'node:fs'
import { createServer } from 'node:net'
import { join } from 'node:path'
import { type Started, startAndPoll } from './process.ts'

const lockfile = join(import.meta.dirname, 'portkey')
const installed = join(import.meta.dirname, '..', 'node_modules', '.cache', 'helixflow', 'bench', 'portkey')

export interface Portkey extends Omit<Started<unknown>, 'ready'> {
  readonly port: number
}

/** The version of a package of the installed Portkey. */
export function portkeyVersion(name: string): string {
  return JSON.parse(readFileSync(join(installed, 'node_modules', name, 'package.json'), 'utf8')).version
}

/** @portkey-ai/gateway, installed on the first call; every package has the checksum that `bench/portkey` holds. */
export async function startPortkey(core: number): Promise<Portkey> {
  install()
  const port = await freePort()
  const gateway = join(installed, 'node_modules', '@portkey-ai', 'gateway', 'build', 'start-server.js')
  const started = await startAndPoll(
    {
      command: process.execPath,
      args: ['--import', join(lockfile, 'mutable-headers.mjs'), gateway, '--headless', `--port=${port}`],
      core,
    },
    () =>
      fetch(`http://127.0.0.1:${port}/`).then(
        (response) => response.ok,
        () => false,
      ),
  )
  return { ...started, port }
}

function install(): void {
  const wanted = readFileSync(join(lockfile, 'package-lock.json'), 'utf8')
  const present = join(installed, 'package-lock.json')
  const complete = existsSync(join(installed, 'node_modules', '.package-lock.json'))
  if (complete && readFileSync(present, 'utf8') === wanted) return
  mkdirSync(installed, { recursive: true })
  for (const name of ['package.json', 'package-lock.json'])
    cpSync(join(lockfile, name), join(installed, name))
  const npm = ['ci', '--ignore-scripts', '--no-audit', '--no-fund', '--loglevel=error']
  const { status } = spawnSync('npm', npm, { cwd: installed, stdio: ['ignore', 2, 2] })
  if (status !== 0) throw new Error(`npm ${npm.join(' ')} in ${installed} ended with ${status}`)
}

/** It can be told a port, but not "any". */
function freePort(): Promise<number> {
  return new Promise((resolve, reject) => {
    const server = createServer()
    server.once('error', reject)
    server.listen(0, '127.0.0.1', () => {
      const address = server.address()
      server.close(() => (typeof address === 'object' && address ? resolve(address.port) : reject(address)))
    })
  })
}
