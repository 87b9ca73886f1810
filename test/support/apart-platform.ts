import { type ChildProcess, spawn } from 'node:child_process'
import { chmodSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { createInterface } from 'node:readline'
import { stringify } from 'yaml'
import type { TlsFiles } from '../../src/contracts/rpc-transport.ts'
import { makeCertificates } from './certificates.ts'
import { RedisServer } from './redis.ts'
import { type Server, type ServerOptions, startServer } from './server.ts'

const program = join(import.meta.dirname, '..', '..', 'bin', 'helixflow.js')

/** Several gateways on one auth service and one Redis, as on machines of their own. */
export class ApartPlatform {
  readonly gateways: Server[] = []
  authUrl = ''
  private auth: ChildProcess | undefined

  private constructor(
    readonly tls: TlsFiles,
    readonly redis: RedisServer,
    private readonly home: string,
    private readonly options: ServerOptions,
    private readonly authSections: Readonly<Record<string, object>>,
  ) {}

  /**
   * @param options of every gateway
   * @param authSections of the auth service's settings
   */
  static async start(
    gateways: number,
    options: ServerOptions,
    authSections: Readonly<Record<string, object>> = {},
  ): Promise<ApartPlatform> {
    const home = mkdtempSync(join(tmpdir(), 'helixflow-test-'))
    chmodSync(home, 0o755)
    const platform = new ApartPlatform(
      await makeCertificates(),
      await RedisServer.start(),
      home,
      options,
      authSections,
    )
    platform.authUrl = await platform.startAuth(0)
    for (let at = 0; at < gateways; at++) await platform.add()
    return platform
  }

  /** Only the first start on a new database makes a key. */
  get apiKey(): string {
    return this.gateways[0]?.apiKey ?? ''
  }

  /** One more gateway. */
  async add(): Promise<Server> {
    const { tls, authUrl, redis, options } = this
    const shared = { rpc: { tls, authUrl }, redis: { urls: [redis.url] } }
    const server = await startServer({ ...options, config: { ...shared, ...options.config } })
    this.gateways.push(server)
    return server
  }

  async startAuth(authPort: number): Promise<string> {
    const path = join(this.home, 'auth.yaml')
    writeFileSync(
      path,
      stringify({ metrics: { port: 0 }, ...this.authSections, rpc: { tls: this.tls, authPort } }),
    )
    const auth = spawn(process.execPath, [program, 'auth', '--json', '--config', path], {
      stdio: ['ignore', 'pipe', 'ignore'],
      env: { PATH: process.env['PATH'] ?? '', HELIXFLOW_HOME: this.home },
    })
    this.auth = auth
    for await (const line of createInterface({ input: auth.stdout }))
      return (JSON.parse(line) as { url: string }).url
    throw new Error('the auth service ended')
  }

  /** @param signal SIGKILL: as when its machine is gone */
  async stopAuth(signal: 'SIGTERM' | 'SIGKILL'): Promise<void> {
    const { auth } = this
    const ended = new Promise((resolve) => auth?.once('exit', resolve))
    auth?.kill(signal)
    await ended
  }

  async stop(): Promise<void> {
    await Promise.all(this.gateways.map((one) => one.stop()))
    await this.redis.stop()
    await this.stopAuth('SIGTERM')
    for (const directory of [this.home, dirname(this.tls.key)])
      rmSync(directory, { recursive: true, force: true })
  }
}

/** SIGKILL, and its end. */
export async function killGateway(server: Server): Promise<void> {
  const ended = new Promise((resolve) => server.process.once('exit', resolve))
  process.kill(server.pid, 'SIGKILL')
  await ended
}
