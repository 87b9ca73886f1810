import { randomBytes } from 'node:crypto'
import type { LeaderConnection } from '../contracts/leader-connection.ts'
import { type Clock, delay } from '../core/clock.ts'
import { HelixError } from '../core/errors.ts'
import type { Logger } from '../core/log.ts'
import type { Fence } from './fence.ts'

export interface PoolMemberParts {
  readonly nodeId: string
  /** Where the pool reaches this node. */
  readonly rpcUrl: string
  readonly connection: LeaderConnection
  readonly fence: Fence
  readonly clock: Clock
  readonly log: Logger
}

const REPORT_MS = 1_000
/** Whoever takes over has two seconds to hear of all nodes before it serves. */
const RETRY_MS = 250
const ANSWER_TIMEOUT_MS = 1_000

/** Keeps this node in the pool: says each second that it is here, to whichever pool leads. */
export class PoolMember {
  private readonly incarnation = randomBytes(8).toString('hex')
  private readonly stopping = new AbortController()
  private readonly running: Promise<void>
  private resolveJoined: () => void = () => {}
  /** Resolves when a pool has heard of it for the first time. */
  readonly joined = new Promise<void>((resolve) => {
    this.resolveJoined = resolve
  })

  constructor(private readonly parts: PoolMemberParts) {
    this.running = this.run()
  }

  /** Tells the pool that it goes, so that nobody has to miss it. */
  async stop(): Promise<void> {
    this.stopping.abort()
    await this.running
    const { nodeId, connection, log } = this.parts
    const { incarnation } = this
    const limits = { signal: new AbortController().signal, patienceMs: 0, timeoutMs: ANSWER_TIMEOUT_MS }
    await connection
      .call((client, options) => client.leavePool({ nodeId, incarnation }, options), limits)
      .catch((reason) => log.warn('the pool did not hear that this node goes', { cause: String(reason) }))
  }

  private async run(): Promise<void> {
    const { clock, log } = this.parts
    const { signal } = this.stopping
    let isHeard: boolean | undefined
    while (!signal.aborted) {
      const wasHeard = isHeard
      const problem = await this.report()
      isHeard = problem === undefined
      if (problem && wasHeard !== false && !signal.aborted) {
        log.warn('the pool does not hear this node', { code: problem.code, cause: problem.message })
      }
      if (isHeard && wasHeard === false) log.info('the pool hears this node')
      // Rejects only when this one stops, which the loop sees.
      await delay(clock, isHeard ? REPORT_MS : RETRY_MS, signal).catch(() => {})
    }
  }

  private async report(): Promise<HelixError | undefined> {
    const { nodeId, rpcUrl, connection, fence } = this.parts
    const { incarnation } = this
    try {
      await connection.call(
        async (client, options) => {
          const { epoch } = await client.reportNode({ nodeId, incarnation, rpcUrl }, options)
          // Within the call, so that one that leads no more and does not know it is left for the next.
          fence.admit(Number(epoch))
        },
        { signal: this.stopping.signal, patienceMs: 0, timeoutMs: ANSWER_TIMEOUT_MS },
      )
      this.resolveJoined()
      return undefined
    } catch (reason) {
      return HelixError.from(reason)
    }
  }
}
