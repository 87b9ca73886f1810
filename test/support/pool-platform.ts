import { type ChildProcess, spawn } from 'node:child_process'
import { chmodSync, linkSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { createInterface } from 'node:readline'
import { stringify } from 'yaml'
import type { TlsFiles } from '../../src/contracts/rpc-transport.ts'
import type { EmbeddedPostgres } from '../../src/storage/embedded-postgres.ts'
import { DatabasePlace } from '../integration/storage/database-place.ts'
import { makeCertificates } from './certificates.ts'
import { testEngine } from './engine.ts'
import { freePort } from './free-port.ts'
import { tinyModel } from './server.ts'

const program = join(import.meta.dirname, '..', '..', 'bin', 'helixflow.js')

/** One service as a process of its own, and what it said when it was ready. */
export interface Service {
  readonly name: string
  readonly process: ChildProcess
  readonly home: string
  readonly ready: Readonly<Record<string, string>>
  log(): string
}

/** Pools, nodes and gateways of one platform, as on machines of their own. */
export class PoolPlatform {
  readonly pools: Service[] = []
  readonly nodes: Service[] = []
  readonly gateways: Service[] = []
  /** Of the first pool and the first node. */
  readonly monitors: Service[] = []
  auth: Service | undefined
  private readonly homes: string[] = []

  private constructor(
    private readonly tls: TlsFiles,
    private readonly place: DatabasePlace,
    private readonly postgres: EmbeddedPostgres,
    private readonly poolPorts: readonly number[],
  ) {}

  static async start(counts: {
    pools: number
    nodes: number
    gateways: number
    monitors?: number
  }): Promise<PoolPlatform> {
    const place = await DatabasePlace.withDatabase()
    const ports: number[] = []
    for (let at = 0; at < counts.pools; at++) ports.push(await freePort())
    const platform = new PoolPlatform(await makeCertificates(), place, await place.start(), ports)
    try {
      await platform.startAuth()
      for (let at = 0; at < counts.pools; at++) await platform.startPool(at)
      for (let at = 0; at < counts.nodes; at++) await platform.startNode(at)
      for (let at = 0; at < (counts.monitors ?? 0); at++) await platform.startMonitor(at)
      for (let at = 0; at < counts.gateways; at++) await platform.startGateway(at)
      return platform
    } catch (reason) {
      await platform.stop()
      throw reason
    }
  }

  private async startAuth(): Promise<void> {
    const rpc = { tls: this.tls, authPort: 0 }
    this.auth = await this.launch('auth', 'auth', { rpc, database: this.database() })
  }

  async startPool(at: number): Promise<void> {
    const rpc = { tls: this.tls, poolPort: this.poolPorts[at] ?? 0 }
    this.pools[at] = await this.launch('pool', `pool-${at}`, { rpc, database: this.database() })
  }

  /** As it was, if it ran before: the same name, port and files. */
  async startNode(at: number): Promise<void> {
    const engine = await testEngine()
    const rpc = { ...this.joining(), nodeId: `node-${at}`, nodePort: 0, relayPort: 0 }
    const engines = { llamaServer: engine.serverPath, threads: 1, memoryLimit: '1GiB' }
    this.nodes[at] = await this.launch('node', `node-${at}`, { rpc, engines })
  }

  private async startMonitor(at: number): Promise<void> {
    const targets = [
      { url: this.auth?.ready['metricsUrl'], role: 'auth' },
      { url: this.pools[0]?.ready['metricsUrl'], role: 'pool' },
      { url: this.nodes[0]?.ready['metricsUrl'], role: 'node' },
    ]
    const monitor = { interval: '300ms', targets }
    const rpc = { tls: this.tls, monitorPort: 0 }
    this.monitors[at] = await this.launch('monitor', `monitor-${at}`, {
      rpc,
      monitor,
      database: this.database(),
    })
  }

  async startGateway(at: number): Promise<void> {
    const gateway = { port: 0, loadWait: '60s' }
    const monitor = this.monitors[at] ?? this.monitors[0]
    const monitorUrl = monitor && { monitorUrl: monitor.ready['url'] }
    const rpc = { ...this.joining(), authUrl: this.auth?.ready['url'], ...monitorUrl }
    const sections = { rpc, gateway, cache: { enabled: false } }
    this.gateways[at] = await this.launch('gateway', `gateway-${at}`, sections)
  }

  /** Only the first start on a new database makes a key. */
  get apiKey(): string {
    return this.gateways[0]?.ready['apiKey'] ?? ''
  }

  async stop(): Promise<void> {
    for (const services of [
      this.gateways,
      this.monitors,
      this.nodes,
      this.pools,
      this.auth ? [this.auth] : [],
    ]) {
      await Promise.all(services.map((one) => signalService(one, 'SIGTERM')))
    }
    await this.postgres.stop()
    await this.place.remove()
    for (const home of [...this.homes, dirname(this.tls.key)]) rmSync(home, { recursive: true, force: true })
  }

  private joining() {
    return { tls: this.tls, poolUrls: this.poolPorts.map((port) => `https://127.0.0.1:${port}`) }
  }

  private database() {
    const { host, user, password, database } = this.postgres.connection
    const url = `postgres://${user}:${password}@localhost/${database}?host=${encodeURIComponent(host)}`
    return { driver: 'postgres', url, connectionsMax: 5 }
  }

  private async launch(role: string, name: string, sections: Record<string, object>): Promise<Service> {
    const home = this.homeOf(name)
    const path = join(home, 'test.yaml')
    writeFileSync(path, stringify({ metrics: { port: 0 }, log: { format: 'json' }, ...sections }))
    await putModels(join(home, 'models'))
    const child = spawn(process.execPath, [program, role, '--json', '--config', path], {
      stdio: ['ignore', 'pipe', 'pipe'],
      env: { PATH: process.env['PATH'] ?? '', HELIXFLOW_HOME: home },
    })
    let log = ''
    child.stderr.setEncoding('utf8').on('data', (text: string) => {
      log += text
    })
    for await (const line of createInterface({ input: child.stdout })) {
      return { name, process: child, home, ready: JSON.parse(line), log: () => log }
    }
    throw new Error(`${name} ended:\n${log}`)
  }

  private homeOf(name: string): string {
    const known = this.homes.find((home) => home.endsWith(`x-${name}`))
    if (known) return known
    const home = join(mkdtempSync(join(tmpdir(), 'hf-')), `x-${name}`)
    mkdirSync(home)
    chmodSync(dirname(home), 0o755)
    this.homes.push(home)
    return home
  }
}

/** Sends the signal; for one that ends it, returns when it has. */
export async function signalService(
  { process: child }: Service,
  signal: 'SIGTERM' | 'SIGKILL',
): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return
  const ended = new Promise((resolve) => child.once('exit', resolve))
  child.kill('SIGCONT')
  child.kill(signal)
  await ended
}

async function putModels(directory: string): Promise<void> {
  mkdirSync(directory, { recursive: true })
  for (const [name, seed] of [
    ['tiny', 1],
    ['other', 2],
    ['third', 3],
  ] as const) {
    const path = join(directory, `${name}.gguf`)
    rmSync(path, { force: true })
    linkSync(await tinyModel(seed), path)
  }
}
