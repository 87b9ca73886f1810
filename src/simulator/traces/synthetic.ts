import { HelixError } from '../../core/errors.ts'
import { seededRandom } from '../../core/random.ts'
import { exponential, gamma, lognormalCount } from '../samplers.ts'
import type { Trace, TraceExtent, TraceRequest } from './trace.ts'

export const SYNTHETIC_PREFIX = 'synthetic:'

const DEFAULTS = { rate: 2, cv: 1, minutes: 10, prompt: 512, output: 64, spread: 1, tenants: 1 } as const

type Settings = { -readonly [name in keyof typeof DEFAULTS]: number }

/**
 * A workload from a few numbers: `synthetic:rate=5,cv=4,minutes=10`. Pauses are gamma distributed, so that cv 1 is a
 * Poisson process and more comes in bursts; cv 0 is a metronome. Lengths are lognormal with that spread, 0 for all alike.
 * @throws HelixError `invalid_arguments` for a name or number that it does not know
 */
export function syntheticTrace(text: string, { requests, seed }: TraceExtent): Trace {
  const settings = settingsOf(text.slice(SYNTHETIC_PREFIX.length))
  const { rate, cv, minutes, prompt, output, spread, tenants } = settings
  const random = seededRandom(seed)
  const meanMs = 1_000 / rate
  const shape = 1 / (cv * cv)
  const pause = () => {
    if (cv === 0) return meanMs
    return cv === 1 ? exponential(random, meanMs) : gamma(random, shape, meanMs / shape)
  }
  const drawn: TraceRequest[] = []
  for (
    let atMs = pause();
    atMs < minutes * 60_000 && drawn.length < (requests ?? Infinity);
    atMs += pause()
  ) {
    drawn.push({
      ...{ arrivalMs: atMs, model: undefined, blocks: [] },
      tenant: `tenant-${1 + Math.floor(random.uniform() * tenants)}`,
      promptTokens: lognormalCount(random, prompt, spread),
      outputTokens: lognormalCount(random, output, spread),
    })
  }
  const made = Object.entries(settings).map(([name, value]) => `${name}=${value}`)
  return {
    format: 'synthetic',
    requests: drawn,
    startedMs: undefined,
    synthetic: [`arrivals and lengths (${made.join(',')})`],
  }
}

function settingsOf(text: string): Settings {
  const settings: Settings = { ...DEFAULTS }
  for (const part of text.split(',').filter(Boolean)) {
    const [name = '', value = ''] = part.split('=')
    const number = Number(value)
    const minimum = name === 'cv' || name === 'spread' ? 0 : Number.MIN_VALUE
    if (!isSetting(name) || value === '' || !Number.isFinite(number) || number < minimum) {
      const known = Object.entries(DEFAULTS).map((entry) => entry.join('='))
      throw new HelixError(
        'invalid_arguments',
        `'${part}' is nothing that a synthetic trace knows; write ${SYNTHETIC_PREFIX}${known.join(',')} or a part of it.`,
      )
    }
    settings[name] = number
  }
  return settings
}

function isSetting(name: string): name is keyof Settings {
  return Object.hasOwn(DEFAULTS, name)
}
