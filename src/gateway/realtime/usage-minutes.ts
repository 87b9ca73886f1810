import type { Identity } from '../../contracts/auth.ts'
import type { Clock } from '../../core/clock.ts'
import type { Settlement } from '../dispatch/settlement.ts'

/** What a project used in one minute, at this gateway. */
export interface MinuteOfUsage {
  readonly minute: string
  requests: number
  errors: number
  prompt_tokens: number
  completion_tokens: number
}

const MINUTE_MS = 60_000

/** The requests of the present minute, by project, as they are settled. */
export class UsageMinutes {
  private readonly projects = new Map<string, MinuteOfUsage>()
  private startMs = 0

  constructor(private readonly clock: Clock) {}

  add({ organisationId, projectId }: Identity, { usage, error }: Settlement): void {
    const minute = this.of(`${organisationId}/${projectId}`)
    minute.requests++
    if (error) minute.errors++
    minute.prompt_tokens += usage.promptTokens
    minute.completion_tokens += usage.completionTokens
  }

  /** @param scope organisation and project, as `scopeOf` writes them */
  of(scope: string): MinuteOfUsage {
    const startMs = Math.floor(this.clock.now() / MINUTE_MS) * MINUTE_MS
    if (startMs !== this.startMs) this.projects.clear()
    this.startMs = startMs
    const known = this.projects.get(scope)
    if (known) return known
    const minute = new Date(startMs).toISOString()
    const begun = { minute, requests: 0, errors: 0, prompt_tokens: 0, completion_tokens: 0 }
    this.projects.set(scope, begun)
    return begun
  }
}
