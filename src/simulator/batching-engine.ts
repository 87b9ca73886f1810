import type { Clock } from '../core/clock.ts'
import { PrefixIndex } from '../scheduler/prefix-index.ts'
import type { DeviceLoad, Resident } from './device-load.ts'
import { BLOCK_TOKENS, type Job } from './job.ts'
import { type StepModel, stepMs } from './step-model.ts'

export interface EngineParts {
  readonly clock: Clock
  readonly steps: StepModel
  readonly deviceIds: readonly string[]
  readonly load: DeviceLoad
  /** Prefix blocks that it holds. */
  readonly prefixBlocksMax: number
  /** Called when a job has its last token. */
  readonly finished: (job: Job) => void
}

/**
 * An engine with continuous batching, as llama-server and vLLM do it: each step gives every running sequence its next
 * token and fills up with tokens of prompts. Steps without prompts are all alike until something ends or comes, so they
 * are taken in one leap: a replay costs as much as it has requests, not tokens.
 */
export class BatchingEngine implements Resident {
  readonly deviceIds: readonly string[]
  /** Jobs whose prompts are read, in the order they came. */
  private reading: Work[] = []
  private writing: Work[] = []
  private leap: Leap | undefined
  /** What it still has of prompts, truly. */
  private readonly prefixes = new PrefixIndex<number>()

  constructor(private readonly parts: EngineParts) {
    this.deviceIds = parts.deviceIds
  }

  get jobs(): readonly Job[] {
    return [...this.reading, ...this.writing].map(({ job }) => job)
  }

  admit(job: Job): void {
    const { promptTokens, outputTokens, blocks } = job.request
    job.blocksHit = this.prefixes.hits(SELF, blocks)
    job.startedMs = this.parts.clock.monotonic()
    // The last token of a prompt is always computed: its result is the first of the answer.
    const missing = Math.max(1, promptTokens - job.blocksHit * BLOCK_TOKENS)
    this.reading.push({ job, begun: false, promptLeft: missing, outputLeft: outputTokens })
    if (this.leap) this.cutLeap()
    else this.start()
  }

  /** Its client has left. */
  remove(job: Job): void {
    const others = (work: Work) => work.job !== job
    this.reading = this.reading.filter(others)
    this.writing = this.writing.filter(others)
    this.cutLeap()
  }

  /** The process is gone, and all that it did with it. */
  kill(): readonly Job[] {
    const { jobs } = this
    this.leap?.cancel()
    if (this.leap) this.parts.load.end(this, this.parts.clock.monotonic())
    this.leap = undefined
    this.reading = []
    this.writing = []
    return jobs
  }

  neighboursChanged(): void {
    this.cutLeap()
  }

  private start(): void {
    this.parts.load.begin(this, this.parts.clock.monotonic())
    this.next()
  }

  /** Begins the next step, or as many as are alike. */
  private next(): void {
    const { steps, clock, load } = this.parts
    if (this.reading.length + this.writing.length === 0) {
      this.leap = undefined
      load.end(this, clock.monotonic())
      return
    }
    const sequences = this.writing.length
    const chunks = chunksOf(this.reading, Math.max(1, steps.stepTokensMax - sequences))
    const promptTokens = chunks.reduce((sum, { tokens }) => sum + tokens, 0)
    const prompts = chunks.filter(({ work }) => !work.begun).length
    for (const { work } of chunks) work.begun = true
    const count = promptTokens > 0 ? 1 : Math.min(...this.writing.map(({ outputLeft }) => outputLeft))
    const eachMs = stepMs(steps, { sequences, prompts, promptTokens }) * load.slowdown(this)
    this.land({ startMs: clock.monotonic(), eachMs, count, chunks, running: this.writing })
  }

  private land(plan: LeapPlan): void {
    const { clock } = this.parts
    const endMs = plan.startMs + plan.count * plan.eachMs
    const cancel = clock.schedule(endMs - clock.monotonic(), () => this.finish(plan))
    this.leap = { ...plan, cancel }
  }

  /** The step under way is still finished; those after it are planned anew. */
  private cutLeap(): void {
    const { leap } = this
    if (!leap || leap.count === 1) return
    const passed = (this.parts.clock.monotonic() - leap.startMs) / leap.eachMs
    const count = Math.max(1, Math.ceil(passed - 1e-9))
    if (count >= leap.count) return
    leap.cancel()
    this.land({ ...leap, count })
  }

  private finish({ count, chunks, running }: LeapPlan): void {
    const nowMs = this.parts.clock.monotonic()
    const done: Job[] = []
    for (const work of running) {
      work.outputLeft -= count
      if (work.outputLeft <= 0 && this.writing.includes(work)) done.push(work.job)
    }
    this.writing = this.writing.filter(({ outputLeft }) => outputLeft > 0)
    for (const { work, tokens } of chunks) {
      work.promptLeft -= tokens
      if (work.promptLeft > 0 || !this.reading.includes(work)) continue
      work.job.firstTokenMs ??= nowMs
      work.outputLeft -= 1
      this.prefixes.note(SELF, work.job.request.blocks, this.parts.prefixBlocksMax)
      this.reading = this.reading.filter((other) => other !== work)
      if (work.outputLeft > 0) this.writing = [...this.writing, work]
      else done.push(work.job)
    }
    // Whoever gets a slot that becomes free here is read in the very next step.
    for (const job of done) this.parts.finished(job)
    this.next()
  }
}

/** The index is of several; an engine knows of itself alone. */
const SELF = 'self'

interface Work {
  readonly job: Job
  begun: boolean
  promptLeft: number
  outputLeft: number
}

interface Chunk {
  readonly work: Work
  readonly tokens: number
}

interface LeapPlan {
  readonly startMs: number
  readonly eachMs: number
  readonly count: number
  readonly chunks: readonly Chunk[]
  /** Those that get tokens in it. */
  readonly running: readonly Work[]
}

interface Leap extends LeapPlan {
  readonly cancel: () => void
}

/** As many tokens of prompts as there is room for, first come first served. */
function chunksOf(reading: readonly Work[], room: number): Chunk[] {
  const chunks: Chunk[] = []
  let left = room
  for (const work of reading) {
    if (left <= 0) break
    const tokens = Math.min(left, work.promptLeft)
    chunks.push({ work, tokens })
    left -= tokens
  }
  return chunks
}
