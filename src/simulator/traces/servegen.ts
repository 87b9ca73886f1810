import type { Random } from '../../core/random.ts'
import { exponential, gamma, lognormalCount, weibull } from '../samplers.ts'
import { badLine, type Line } from './lines.ts'
import type { TraceRequest } from './trace.ts'

/** The form of a ServeGen row: start of the window, requests per second, their variation, distribution, arguments. */
export const SERVEGEN_ROW = /^\d+(\.\d+)?,[\d.eE+-]+,[\d.eE+-]+,(Gamma|Weibull)?,[\d.eE+-]+,[\d.eE+-]+$/

/** How one client asks during a window. */
export interface RateWindow {
  readonly startMs: number
  readonly perSecond: number
  readonly distribution: 'Gamma' | 'Weibull' | 'none'
  readonly shape: number
}

export function readRateWindow(path: string, line: Line): RateWindow {
  if (!SERVEGEN_ROW.test(line.text.trim())) {
    throw badLine(path, line, 'wanted start, rate, variation, Gamma or Weibull, and its two arguments')
  }
  const [start, rate, , distribution = '', shape] = line.text.trim().split(',')
  const [startMs, perSecond] = [Number(start) * 1_000, Number(rate)]
  if (!Number.isFinite(startMs) || !(perSecond >= 0)) throw badLine(path, line, 'not a number')
  const known = distribution === 'Gamma' || distribution === 'Weibull'
  return { startMs, perSecond, distribution: known ? distribution : 'none', shape: Number(shape) }
}

/** Lengths are not part of these files: means of the Azure conversation trace, spread lognormally. */
const PROMPT_TOKENS = 1_020
const OUTPUT_TOKENS = 129
const LENGTH_SIGMA = 1

/**
 * Draws the arrivals of one client, a renewal process whose pace is the recorded rate and whose shape is that of the
 * window. `scale` thins it: the recorded rates are those of a large fleet. The shape stays, so bursts stay bursts.
 * Pauses are drawn in requests that were due meanwhile and go on from window to window, since a thinned client may ask
 * once in many windows.
 */
export function* drawArrivals(
  client: string,
  windows: readonly RateWindow[],
  { scale, random }: { readonly scale: number; readonly random: Random },
): Generator<TraceRequest> {
  // The first pause began before the trace did.
  let due = exponential(random, 1) * random.uniform()
  for (const [place, window] of windows.entries()) {
    const perMs = (window.perSecond * scale) / 1_000
    if (perMs <= 0) continue
    const endMs = windows[place + 1]?.startMs ?? window.startMs + LAST_WINDOW_MS
    let atMs = window.startMs
    for (; due <= (endMs - atMs) * perMs; due = pause(window, random)) {
      atMs += due / perMs
      yield {
        ...{ arrivalMs: atMs, model: client, tenant: client, blocks: [] },
        promptTokens: lognormalCount(random, PROMPT_TOKENS, LENGTH_SIGMA),
        outputTokens: lognormalCount(random, OUTPUT_TOKENS, LENGTH_SIGMA),
      }
    }
    due -= (endMs - atMs) * perMs
  }
}

/** Requests that are expected of one client, unscaled. */
export function expectedRequests(windows: readonly RateWindow[]): number {
  return windows.reduce((sum, { startMs, perSecond }, place) => {
    const endMs = windows[place + 1]?.startMs ?? startMs + LAST_WINDOW_MS
    return sum + (perSecond * (endMs - startMs)) / 1_000
  }, 0)
}

const LAST_WINDOW_MS = 600_000

/** Of mean 1, in the recorded shape; the recorded scale belongs to the unscaled rate. */
function pause({ distribution, shape }: RateWindow, random: Random): number {
  const usable = shape >= MIN_SHAPE
  if (distribution === 'Gamma' && usable) return gamma(random, shape, 1 / shape)
  if (distribution === 'Weibull' && usable) return weibull(random, shape, 1 / gammaFunction(1 + 1 / shape))
  return exponential(random, 1)
}

/** Below this nearly all requests of a window would fall on one instant. */
const MIN_SHAPE = 0.05

/** Lanczos' approximation, for arguments above 1. */
function gammaFunction(x: number): number {
  const g = 7
  const [first = 1, ...rest] = LANCZOS
  const sum = rest.reduce((total, coefficient, place) => total + coefficient / (x + place), first)
  const t = x + g - 0.5
  return Math.sqrt(2 * Math.PI) * t ** (x - 0.5) * Math.exp(-t) * sum
}

const LANCZOS = [
  0.9999999999998099, 676.5203681218851, -1259.1392167224028, 771.3234287776531, -176.6150291621406,
  12.507343278686905, -0.13857109526572012, 9.984369578019572e-6, 1.5056327351493116e-7,
]
