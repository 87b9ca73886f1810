import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { connect } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { runCommand } from '../../src/storage/run-command.ts'
import { type FoundPrograms, findDebianPrograms } from './debian-programs.ts'
import { freePort } from './free-port.ts'

const REDIS = {
  name: 'redis',
  packages: ['redis-server', 'redis-tools', 'libhiredis0.14'],
  place: 'usr/bin',
  wanted: ['redis-server', 'redis-cli'],
}

let programs: Promise<FoundPrograms> | undefined

/** Debian's Redis 7, installed or fetched. @throws Error when there is none: nothing here can be tested without it */
export function redisPrograms(): Promise<FoundPrograms> {
  programs ??= findDebianPrograms(REDIS).then((finding) => {
    if ('found' in finding) return finding.found
    throw new Error(finding.missing)
  })
  return programs
}

/** A Redis server on a free port of the loopback interface, with nothing on disk. */
export class RedisServer {
  private child: ChildProcess

  private constructor(
    readonly port: number,
    private readonly found: FoundPrograms,
    private readonly directory: string,
    private readonly launch: () => ChildProcess,
  ) {
    this.child = launch()
  }

  /** @param settings more of them, as `--name value` */
  static async start(settings: readonly string[] = [], port?: number): Promise<RedisServer> {
    const found = await redisPrograms()
    const chosen = port ?? (await freePort())
    const directory = mkdtempSync(join(tmpdir(), 'hf-redis-'))
    const launch = () =>
      spawn(join(found.binaries, 'redis-server'), parametersOf(chosen, directory, settings), {
        stdio: 'ignore',
        env: { ...found.environment },
      })
    const server = new RedisServer(chosen, found, directory, launch)
    await server.answering()
    return server
  }

  /** A sentinel that watches one master and needs no other to agree. */
  static async startSentinel(
    { name, masterPort }: { readonly name: string; readonly masterPort: number },
    port: number,
  ): Promise<RedisServer> {
    const found = await redisPrograms()
    const directory = mkdtempSync(join(tmpdir(), 'hf-redis-'))
    const file = join(directory, 'sentinel.conf')
    const lines = [
      `port ${port}`,
      'bind 127.0.0.1',
      `dir ${directory}`,
      `sentinel monitor ${name} 127.0.0.1 ${masterPort} 1`,
      `sentinel down-after-milliseconds ${name} 1000`,
      `sentinel failover-timeout ${name} 5000`,
    ]
    writeFileSync(file, `${lines.join('\n')}\n`)
    const launch = () =>
      spawn(join(found.binaries, 'redis-server'), [file, '--sentinel'], {
        stdio: 'ignore',
        env: { ...found.environment },
      })
    const server = new RedisServer(port, found, directory, launch)
    await server.answering()
    return server
  }

  get url(): string {
    return `redis://127.0.0.1:${this.port}`
  }

  get pid(): number {
    return this.child.pid ?? -1
  }

  /** It keeps its connections and answers nothing. */
  freeze(): void {
    this.child.kill('SIGSTOP')
  }

  thaw(): void {
    this.child.kill('SIGCONT')
  }

  async kill(): Promise<void> {
    if (this.child.exitCode !== null || this.child.signalCode !== null) return
    const exited = once(this.child, 'exit')
    this.child.kill('SIGKILL')
    await exited
  }

  /** On the same port, empty. */
  async startAgain(): Promise<void> {
    await this.kill()
    this.child = this.launch()
    await this.answering()
  }

  /** What redis-cli prints. */
  async command(...words: readonly string[]): Promise<string> {
    const { output, complaint, succeeded } = await runCommand(
      join(this.found.binaries, 'redis-cli'),
      ['-p', String(this.port), ...words],
      { environment: this.found.environment },
    )
    if (!succeeded) throw new Error(`redis-cli ${words.join(' ')}: ${complaint}`)
    return output
  }

  async stop(): Promise<void> {
    await this.kill()
    rmSync(this.directory, { recursive: true, force: true })
  }

  private async answering(): Promise<void> {
    while (!(await accepts(this.port))) {
      if (this.child.exitCode !== null) throw new Error(`redis-server ended with ${this.child.exitCode}`)
      await sleep(10)
    }
  }
}

function parametersOf(port: number, directory: string, settings: readonly string[]): string[] {
  return [
    ...['--port', String(port), '--bind', '127.0.0.1', '--dir', directory],
    ...['--save', '', '--appendonly', 'no', ...settings],
  ]
}

function accepts(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(port, '127.0.0.1')
    socket.once('connect', () => {
      socket.destroy()
      resolve(true)
    })
    socket.once('error', () => resolve(false))
  })
}
