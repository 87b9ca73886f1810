import { HelixError } from '../core/errors.ts'
import { seededRandom } from '../core/random.ts'
import type { WorkloadRequest } from './job.ts'
import { zipf } from './samplers.ts'
import type { Trace } from './traces/trace.ts'

/** Who asks for which model: as the trace says, or the k-th of them with weight 1 / k^exponent. */
export type Popularity = 'trace' | { readonly zipf: number }

export interface WorkloadOptions {
  readonly models: readonly string[]
  readonly popularity: Popularity
  /** How many times faster than recorded. */
  readonly speed: number
  readonly seed: number
}

/** `zipf:1.0`, `uniform` or `trace`. */
export function popularityFrom(text: string): Popularity {
  const match = /^zipf:(\d+(?:\.\d+)?)$/.exec(text)
  if (match) return { zipf: Number(match[1]) }
  if (text === 'uniform') return { zipf: 0 }
  if (text === 'trace') return 'trace'
  throw new HelixError('invalid_arguments', `'${text}' is no popularity; write zipf:1.0, uniform or trace.`)
}

/** Names of models in the trace, in the order they appear. */
export function modelsNamed({ requests }: Trace): readonly string[] {
  return [...new Set(requests.map(({ model }) => model).filter((model) => model !== undefined))]
}

/**
 * The requests of a trace with a model, a tenant and a pace. Which model a request asks for depends on the seed and its
 * place in the trace alone, not on the speed, so that the same work can be replayed faster.
 */
export function workloadOf(trace: Trace, options: WorkloadOptions): WorkloadRequest[] {
  const random = seededRandom(options.seed)
  const { popularity, models } = options
  const draw = zipf(models.length, popularity === 'trace' ? 0 : popularity.zipf)
  return trace.requests.map((request, id) => {
    const model = popularity === 'trace' ? request.model : models[draw(random)]
    if (model === undefined || (popularity === 'trace' && !models.includes(model))) {
      throw new HelixError(
        'invalid_value',
        model === undefined
          ? `Request ${id + 1} of the trace names no model; choose a popularity such as zipf:1.0.`
          : `Request ${id + 1} of the trace asks for '${model}', which the cluster does not have.`,
      )
    }
    return {
      ...{ id, model, tenant: request.tenant ?? 'everybody', blocks: request.blocks },
      arrivalMs: request.arrivalMs / options.speed,
      promptTokens: Math.max(1, request.promptTokens),
      outputTokens: Math.max(1, request.outputTokens),
    }
  })
}
