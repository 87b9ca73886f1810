import type { SamplingRequest } from '../../contracts/openai/fields.ts'
import type { Replica } from '../../contracts/pool.ts'
import { HelixError } from '../../core/errors.ts'
import type { Answer } from './exchange.ts'

const UINT32 = 2 ** 32

/**
 * The sampling parameters for an engine. Only what the caller set is sent; the rest keeps the engine's defaults.
 * @throws HelixError `invalid_value` for a token that the model does not have
 */
export function samplingBody(request: SamplingRequest, replica: Replica): Answer {
  return given({
    temperature: request.temperature,
    top_p: request.top_p,
    top_k: request.top_k,
    min_p: request.min_p,
    presence_penalty: request.presence_penalty,
    frequency_penalty: request.frequency_penalty,
    seed: replica.engine === 'llama-server' ? seed32(request.seed) : request.seed,
    stop: typeof request.stop === 'string' ? [request.stop] : request.stop,
    logit_bias: request.logit_bias && knownTokens(request.logit_bias, replica),
  })
}

/** Without the fields that are null or undefined. */
export function given(fields: Answer): Answer {
  return Object.fromEntries(
    Object.entries(fields).filter(([, value]) => value !== undefined && value !== null),
  )
}

/** Any integer to the 32 bits that llama.cpp takes; its highest value means "random" there and is not used. */
function seed32(seed: number | null | undefined): number | undefined {
  if (seed === null || seed === undefined) return undefined
  const wrapped = ((seed % UINT32) + UINT32) % UINT32
  return wrapped === UINT32 - 1 ? 0 : wrapped
}

function knownTokens(
  biases: Readonly<Record<string, number>>,
  replica: Replica,
): Readonly<Record<string, number>> {
  checkTokens(Object.keys(biases).map(Number), replica, 'logit_bias')
  return biases
}

/** @throws HelixError `invalid_value`: llama-server makes no more choices of one prompt than it has slots */
export function checkChoices(choices: number, replica: Replica): void {
  if (replica.engine !== 'llama-server' || choices <= replica.slots) return
  const text = `Invalid value: 'n': this model makes at most ${replica.slots} choices.`
  throw new HelixError('invalid_value', text, { param: 'n' })
}

/** @throws HelixError `invalid_value`: a token number beyond the vocabulary must not reach native code */
export function checkTokens(tokens: readonly number[], replica: Replica, param: string): void {
  const size = replica.vocabularySize
  const unknown = size === undefined ? undefined : tokens.find((token) => token >= size)
  if (unknown === undefined) return
  throw new HelixError(
    'invalid_value',
    `Invalid value: '${param}': token ${unknown} is not one of ${size}.`,
    { param },
  )
}
