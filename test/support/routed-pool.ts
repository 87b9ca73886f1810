import { expect } from 'vitest'
import type { ModelDemand, PoolClient, Replica } from '../../src/contracts/pool.ts'
import type { Clock } from '../../src/core/clock.ts'
import { HelixError } from '../../src/core/errors.ts'
import { type Metrics, noMetrics } from '../../src/core/metrics.ts'
import { noSpan } from '../../src/core/tracing.ts'
import type { Lease, Want } from '../../src/gateway/dispatch/lease.ts'
import { Router, type RouterOptions } from '../../src/gateway/dispatch/router.ts'
import { NO_USAGE } from '../../src/gateway/dispatch/usage.ts'

/** A pool by hand: the test decides when a replica comes and goes. */
export class HandPool {
  acquired: { model: string; resolve: () => void; reject: (error: unknown) => void }[] = []
  uses: [string, number][] = []
  demand: (readonly ModelDemand[])[] = []
  private listener: (replicas: readonly Replica[]) => void = () => {}

  publish(...replicas: Replica[]): void {
    this.listener(replicas)
  }

  client(): PoolClient {
    const unused = () => expect.unreachable('the router does not ask this')
    return {
      listModels: unused,
      showModel: unused,
      revision: unused,
      load: unused,
      unload: unused,
      explain: unused,
      listDevices: unused,
      planMoves: unused,
      journal: unused,
      defragment: unused,
      reportDemand: (demand) => void this.demand.push(demand),
      unavailability: unused,
      acquire: (model, signal) =>
        new Promise((resolve, reject) => {
          signal.addEventListener('abort', () => reject(signal.reason))
          this.acquired.push({ model, resolve, reject })
        }),
      explainWait: async () => ({ code: 'model_loading', reason: 'loading m since 3 s', remainingMs: 2_000 }),
      watchReplicas: (listener) => {
        this.listener = listener
        listener([])
        return () => {}
      },
      reportUse: (id, inFlight) => void this.uses.push([id, inFlight]),
    }
  }
}

export function replica(id: string, model: string, slots: number): Replica {
  const address = { url: 'http://localhost', socketPath: undefined, apiKey: undefined }
  return {
    id,
    model,
    engineModel: model,
    engine: 'upstream',
    address,
    slots,
    contextLength: undefined,
    supportsTools: undefined,
    continues: false,
    vocabularySize: undefined,
    revision: 'r1',
  }
}

export function wanted(change: Partial<Want> = {}): Want {
  return {
    model: 'm',
    slots: 1,
    signal: new AbortController().signal,
    span: noSpan,
    tenant: 'proj_a',
    tier: 'default',
    deadlineMs: undefined,
    promptTokens: 100,
    outputTokensMax: 100,
    avoid: new Set(),
    blocks: () => [],
    used: () => NO_USAGE,
    ...change,
  }
}

export const settle = () => new Promise((resolve) => setImmediate(resolve))

export async function codeOf(lease: Promise<Lease>): Promise<string> {
  const reason = await lease.then(
    () => expect.unreachable('the lease was granted'),
    (error: unknown) => error,
  )
  expect(reason).toBeInstanceOf(HelixError)
  return (reason as HelixError).code
}

export interface RouterParts {
  readonly pool: HandPool
  readonly clock: Clock
  readonly metrics?: Metrics
}

/** With room for two that wait, unless the test says otherwise. */
export function routerOf(
  { pool, clock, metrics = noMetrics }: RouterParts,
  change: Partial<RouterOptions> = {},
): Router {
  return new Router({
    ...{ pool: pool.client(), clock, metrics, fairness: 'tokens' },
    ...{ queueMax: 2, queueTimeoutMs: 5_000, loadWaitMs: 30_000 },
    ...change,
  })
}
