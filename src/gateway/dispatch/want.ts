import type { Span } from '../../core/tracing.ts'
import type { Exchange } from './exchange.ts'
import type { Want } from './lease.ts'
import { promptBlocks } from './prompt-blocks.ts'
import type { Account } from './settlement.ts'

export interface WantParts {
  readonly exchange: Exchange
  readonly account: Account
  readonly signal: AbortSignal
  readonly tenant: string
  readonly span: Span
  readonly deadlineMs: number | undefined
}

/** What a request wants an engine for. @param avoid replicas where it has failed, for where there are others */
export function wantOf(
  { exchange, account, signal, tenant, span, deadlineMs }: WantParts,
  avoid: ReadonlySet<string>,
): Want {
  const { model, choices: slots, tier, prompt } = exchange
  const { promptTokensLikely: promptTokens, outputTokensMax: each } = exchange.size()
  const outputTokensMax = each === undefined ? undefined : each * slots
  return {
    ...{ model, slots, signal, span, tenant, tier, deadlineMs, promptTokens, outputTokensMax, avoid },
    blocks: () => (prompt ? promptBlocks(tenant, prompt()) : []),
    used: () => account.used(),
  }
}
