import { type ChildProcess, spawn } from 'node:child_process'
import { createRequire } from 'node:module'
import { Socket } from 'node:net'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { pathToFileURL } from 'node:url'
import { z } from 'zod'
import type { Clock } from '../../core/clock.ts'
import type { Logger } from '../../core/log.ts'
import { type Guardian, guard } from '../../guardian.ts'
import type { NvidiaReading } from './nvml-device.ts'

export interface NvmlProbeOptions {
  readonly library: string
  readonly clock: Clock
  readonly log: Logger
  /** A call into the driver that lasts longer is given up, and its process with it. */
  readonly silenceMs?: number | undefined
}

const SILENCE_MS = 5_000
/** Without persistence mode the driver wakes each card for the first caller, which takes a second or two per card. */
const FIRST_SILENCE_FACTOR = 6
const PAUSE_MS_MIN = 1_000
const PAUSE_MS_MAX = 60_000

const optional = z.number().optional()
const Readings: z.ZodType<readonly NvidiaReading[]> = z.array(
  z.object({
    ...{ id: z.string(), name: z.string(), lostBecause: z.string().optional() },
    ...{ totalBytes: optional, usedBytes: optional, utilization: optional, powerWatts: optional },
    processes: z.array(z.object({ pid: z.number(), bytes: optional })).optional(),
    ...{ temperatureCelsius: optional, slowdownCelsius: optional, isSlowed: z.boolean().optional() },
    clique: z.string().optional(),
  }),
)

/**
 * The process that asks the NVIDIA driver, seen from here. It is started when the first reading is asked for and anew
 * when it has ended, after a pause that doubles; it never outlives this process.
 */
export class NvmlProbe {
  private child: RunningProbe | undefined
  private pauseMs = PAUSE_MS_MIN
  private nextStartMs = Number.NEGATIVE_INFINITY
  private isClosed = false

  constructor(private readonly options: NvmlProbeOptions) {}

  /** Undefined when nothing can be known now: no driver, or one that does not answer. */
  async read(): Promise<readonly NvidiaReading[] | undefined> {
    const child = this.child ?? this.start()
    if (!child) return undefined
    const answer = await this.ask(child)
    if (answer || child.isSilent || !child.hasAnswered) return answer
    // Its end says nothing of the cards: the system may have ended it for want of memory. They would all be lost by it.
    const another = this.child ?? this.start()
    return another && this.ask(another)
  }

  /** Ends the process, and starts another at the next reading: cards that came or went are only seen so. */
  restart(): void {
    this.nextStartMs = Number.NEGATIVE_INFINITY
    this.child?.end()
  }

  get pid(): number | undefined {
    return this.child?.pid
  }

  close(): void {
    this.isClosed = true
    this.child?.end()
  }

  private async ask(child: RunningProbe): Promise<readonly NvidiaReading[] | undefined> {
    const silenceMs = (this.options.silenceMs ?? SILENCE_MS) * (child.hasAnswered ? 1 : FIRST_SILENCE_FACTOR)
    const answer = await child.ask(silenceMs)
    if (answer) this.pauseMs = PAUSE_MS_MIN
    return answer
  }

  private start(): RunningProbe | undefined {
    const nowMs = this.options.clock.monotonic()
    if (this.isClosed || nowMs < this.nextStartMs) return undefined
    this.nextStartMs = nowMs + this.pauseMs
    this.pauseMs = Math.min(2 * this.pauseMs, PAUSE_MS_MAX)
    const child = RunningProbe.start(this.options, () => {
      this.child = undefined
    })
    this.child = child
    return child
  }
}

class RunningProbe {
  hasAnswered = false
  /** It was given up because it did not answer. */
  isSilent = false
  private readonly waiting: ((answer: readonly NvidiaReading[] | undefined) => void)[] = []

  private constructor(
    private readonly child: ChildProcess,
    readonly pid: number,
    private readonly options: NvmlProbeOptions,
    private readonly guardian: Guardian,
  ) {}

  static start(options: NvmlProbeOptions, onEnd: () => void): RunningProbe | undefined {
    const child = spawn(process.execPath, [...programArguments(), options.library], {
      // Out of our process group, so that a Ctrl-C ends it by us; and where it prevents no folder's removal.
      ...{ cwd: '/', detached: true, env: {}, stdio: 'pipe' },
    })
    child.on('error', (cause) => options.log.warn('device probe', { cause: String(cause) }))
    const { pid, stdin, stdout, stderr } = child
    if (pid === undefined) return undefined
    const guardian = guardianOf(child, pid, options.log)
    if (!guardian) return undefined
    const probe = new RunningProbe(child, pid, options, guardian)
    createInterface({ input: stdout }).on('line', (line) => probe.answered(line))
    // One that has ended cannot be asked; that it ended is told by the event below.
    stdin.on('error', () => {})
    let lastLine = ''
    createInterface({ input: stderr }).on('line', (line) => {
      if (line.trim() !== '') lastLine = line.trim()
    })
    child.once('close', (code) => {
      probe.ended()
      // One that found no driver ends in order, and one that we ended has no code.
      if (code) options.log.warn('device probe failed', { code, lastLine })
      onEnd()
    })
    child.unref()
    for (const stream of [stdin, stderr]) if (stream instanceof Socket) stream.unref()
    probe.keepAlive()
    return probe
  }

  ask(silenceMs: number): Promise<readonly NvidiaReading[] | undefined> {
    return new Promise((resolve) => {
      const cancel = this.options.clock.schedule(silenceMs, () => {
        this.options.log.warn('device probe does not answer', { pid: this.pid, silenceMs })
        this.isSilent = true
        this.end()
        resolve(undefined)
      })
      this.waiting.push((answer) => {
        cancel()
        this.keepAlive()
        resolve(answer)
      })
      this.keepAlive()
      this.child.stdin?.write('\n')
    })
  }

  end(): void {
    this.child.kill('SIGKILL')
  }

  /** This process waits for an answer that somebody wants, and for nothing else of the probe. */
  private keepAlive(): void {
    const { stdout } = this.child
    if (!(stdout instanceof Socket)) return
    if (this.waiting.length > 0) stdout.ref()
    else stdout.unref()
  }

  private answered(line: string): void {
    const answer = listIn(line)
    // What else stands there, the library printed.
    if (!answer) return
    this.hasAnswered = true
    const readings = Readings.safeParse(answer)
    if (!readings.success) this.options.log.warn('device probe', { cause: z.prettifyError(readings.error) })
    this.waiting.shift()?.(readings.data)
  }

  private ended(): void {
    this.guardian.release()
    for (const resolve of this.waiting.splice(0)) resolve(undefined)
  }
}

function listIn(line: string): readonly unknown[] | undefined {
  try {
    const found: unknown = JSON.parse(line)
    return Array.isArray(found) ? found : undefined
  } catch {
    return undefined
  }
}

/** One that nobody guards could outlive us: it is not left running, and what it would have told is not known. */
function guardianOf(child: ChildProcess, pid: number, log: Logger): Guardian | undefined {
  try {
    return guard(pid, 'SIGKILL')
  } catch (cause) {
    child.kill('SIGKILL')
    log.warn('device probe', { cause: String(cause) })
    return undefined
  }
}

/** From the source, in development, only with the compiler that this process itself is run by. */
function programArguments(): readonly string[] {
  const isSource = import.meta.filename.endsWith('.ts')
  const program = join(import.meta.dirname, `nvml-probe-main.${isSource ? 'ts' : 'js'}`)
  if (!isSource) return [program]
  const compiler = createRequire(import.meta.filename).resolve('tsx')
  return ['--import', pathToFileURL(compiler).href, program]
}
