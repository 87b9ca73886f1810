import type { BatchingEngine } from './batching-engine.ts'
import type { WorkloadRequest } from './job.ts'
import type { GatewayRules } from './scenario.ts'

export interface RoutingSeat {
  readonly engine: BatchingEngine
  readonly slots: number
  inUse: number
}

/** No instance gets more than this many times the mean while another one has room: bounded loads. */
const LOAD_FACTOR_MAX = 1.25

/** The instance with a free slot that a request goes to; undefined when there is none. */
export function chooseSeat<S extends RoutingSeat>(
  seats: readonly S[],
  { blocks }: WorkloadRequest,
  routing: GatewayRules['routing'],
): S | undefined {
  const free = seats.filter(({ slots, inUse }) => inUse < slots)
  const least = (a: S, b: S) => (b.inUse / b.slots < a.inUse / a.slots ? b : a)
  const [first] = free
  if (!first || free.length === 1) return first
  if (routing === 'least-loaded' || blocks.length === 0) return free.reduce(least)
  const inUse = seats.reduce((sum, seat) => sum + seat.inUse, 0)
  const bound = Math.ceil((LOAD_FACTOR_MAX * (inUse + 1)) / seats.length)
  const open = free.filter((seat) => seat.inUse < bound)
  const held = new Map(open.map((seat) => [seat, seat.engine.matchingBlocks(blocks)]))
  const most = Math.max(0, ...held.values())
  const best = open.filter((seat) => held.get(seat) === most)
  return (best.length > 0 ? best : free).reduce(least)
}
