import { type Hole, setsOf } from './holes.ts'
import { spotTiers } from './placement/spots.ts'
import { type Device, type Instance, loadMsOn, type Move, type Share, shareBytes } from './state.ts'
import { type ClusterView, isAllowedOn } from './view.ts'

/**
 * What the requests of an instance still take, as nobody here knows how long answers are: half of a common one of some
 * hundreds of tokens.
 */
export const REQUEST_SECONDS = 4
/** Chance that an idle model is asked for while it is away. */
const ASKED_MEANWHILE = 0.1
/** Devices beside the hole's own that are looked at: those with the most room. */
const BESIDE_MAX = 8

/** A move that has room as things stand, and what it costs. */
export interface PossibleMove {
  readonly piece: Piece
  readonly move: Move
  readonly seconds: number
}

/** An instance that may be moved, once: the copy that a move makes has no name before it is there. */
interface Piece {
  readonly instance: Instance
  /** Known once they are asked for: most holes are given up before. */
  targets: readonly Target[] | undefined
  /** Where it lies now; another one than the instance's own once it was moved. */
  at: readonly Share[]
}

interface Target {
  readonly nodeId: string
  readonly to: readonly Share[]
  /** To load it there. */
  readonly seconds: number
}

/** What the searches for all holes have in common. */
export class MoveGround {
  readonly view: ClusterView
  /** The devices that take new models, those with the most room first. */
  readonly emptiest: readonly Device[]
  private readonly cachedSomewhere: ReadonlySet<string>

  constructor(view: ClusterView) {
    const free = ({ id }: Device) => view.freeBytes.get(id) ?? 0
    this.view = view
    this.emptiest = view.state.devices
      .filter(({ health }) => health === 'ok')
      .sort((a, b) => free(b) - free(a))
    this.cachedSomewhere = new Set(Object.values(view.state.cachedFiles).flat())
  }

  /** No move of the instance costs less. */
  leastSeconds({ spec, inFlight }: Instance): number {
    const loadMs = this.cachedSomewhere.has(spec.name)
      ? Math.min(spec.cachedLoadMs, spec.loadMs)
      : spec.loadMs
    return loadMs / 1_000 + (inFlight > 0 ? REQUEST_SECONDS : 0)
  }
}

/** At least so many moves, and seconds, are needed before a hole is open. */
export interface LeastMoves {
  readonly moves: number
  readonly seconds: number
}

/** The devices around a hole with what lies on them, for a search that makes moves and takes them back. */
export class MoveBoard {
  private readonly ground: MoveGround
  private readonly hole: Hole
  private readonly around: readonly Device[]
  private readonly freeBytes: Map<string, number>
  private readonly pieces: readonly Piece[]
  private readonly moved = new Set<Piece>()

  constructor(ground: MoveGround, hole: Hole) {
    const { view } = ground
    this.ground = ground
    this.hole = hole
    this.around = devicesAround(ground, hole)
    this.freeBytes = new Map(this.around.map(({ id }) => [id, view.freeBytes.get(id) ?? 0]))
    const instances = new Set(
      this.around.flatMap(({ id }) => (view.instancesOn.get(id) ?? []).filter(isMovable)),
    )
    this.pieces = [...instances].map((instance) => ({ instance, targets: undefined, at: instance.shares }))
  }

  /** None when the hole is open, infinitely many when it never can be. */
  leastMoves(): LeastMoves {
    let least = NO_MOVES
    for (const { id } of this.hole.devices) {
      const missing = this.hole.bytes - this.free(id)
      if (missing <= 0) continue
      const here: Instance[] = []
      for (const piece of this.pieces) {
        if (!this.moved.has(piece) && bytesOn(piece.at, id) > 0) here.push(piece.instance)
      }
      least = greater(least, leastFor(this.ground, id, missing, here))
    }
    return least
  }

  /**
   * Every move that there is room for, the cheapest first.
   * @param aside also those that take nothing away from where the hole is to be
   */
  possibleMoves(aside: boolean): readonly PossibleMove[] {
    const possible: PossibleMove[] = []
    let largestBytes = 0
    for (const { id } of this.around) largestBytes = Math.max(largestBytes, this.free(id))
    for (const piece of this.pieces) {
      if (this.moved.has(piece) || !(aside || this.isInTheWay(piece))) continue
      // What lies on one device needs as much of another; a split may overlap with its new place.
      const [first, second] = piece.at
      if (!second && first && first.bytes > largestBytes) continue
      piece.targets ??= targetsOf(this.ground.view, piece.instance, this.around)
      for (const target of piece.targets) {
        const kind = this.kindOf(piece, target)
        if (!kind) continue
        const { nodeId, to } = target
        const move = { instanceId: piece.instance.id, nodeId, to, kind }
        possible.push({ piece, move, seconds: secondsOf(piece.instance, target, kind) })
      }
    }
    return possible.sort((a, b) => a.seconds - b.seconds)
  }

  make({ piece, move }: PossibleMove): void {
    this.put(piece, move.to)
    this.moved.add(piece)
  }

  undo({ piece }: PossibleMove): void {
    this.put(piece, piece.instance.shares)
    this.moved.delete(piece)
  }

  /** The same for all orders of moves that lead to the same. */
  arrangement(): string {
    const places = [...this.moved].map(({ instance, at }) =>
      [instance.id, ...at.map(({ deviceId }) => deviceId)].join(),
    )
    return places.sort().join('\n')
  }

  private isInTheWay({ at }: Piece): boolean {
    return at.some(
      ({ deviceId }) =>
        this.free(deviceId) < this.hole.bytes && this.hole.devices.some(({ id }) => id === deviceId),
    )
  }

  private kindOf({ at }: Piece, { to }: Target): Move['kind'] | undefined {
    if (to.every(({ deviceId, bytes }) => this.free(deviceId) >= bytes)) return 'copy-first'
    const fitsWithout = to.every(
      ({ deviceId, bytes }) => this.free(deviceId) + bytesOn(at, deviceId) >= bytes,
    )
    return fitsWithout ? 'drain-first' : undefined
  }

  private put(piece: Piece, to: readonly Share[]): void {
    for (const { deviceId, bytes } of piece.at) this.freeBytes.set(deviceId, this.free(deviceId) + bytes)
    for (const { deviceId, bytes } of to) this.freeBytes.set(deviceId, this.free(deviceId) - bytes)
    piece.at = to
  }

  private free(deviceId: string): number {
    return this.freeBytes.get(deviceId) ?? 0
  }
}

/** The same of a hole as things stand, as a look at its own devices tells. */
export function leastMoves(ground: MoveGround, { devices, bytes }: Hole): LeastMoves {
  const { freeBytes, instancesOn } = ground.view
  let least = NO_MOVES
  for (const { id } of devices) {
    const missing = bytes - (freeBytes.get(id) ?? 0)
    if (missing <= 0) continue
    least = greater(least, leastFor(ground, id, missing, (instancesOn.get(id) ?? []).filter(isMovable)))
  }
  return least
}

const NO_MOVES: LeastMoves = { moves: 0, seconds: 0 }

function greater(one: LeastMoves, other: LeastMoves): LeastMoves {
  return { moves: Math.max(one.moves, other.moves), seconds: Math.max(one.seconds, other.seconds) }
}

/** How many of those, the largest first, make up what is missing, and what as many of the cheapest cost. */
function leastFor(
  ground: MoveGround,
  deviceId: string,
  missingBytes: number,
  here: readonly Instance[],
): LeastMoves {
  const sizes = here.map(({ shares }) => bytesOn(shares, deviceId)).sort((a, b) => b - a)
  let missing = missingBytes
  const enough = sizes.findIndex((bytes) => {
    missing -= bytes
    return missing <= 0
  })
  if (enough < 0) return { moves: Number.POSITIVE_INFINITY, seconds: Number.POSITIVE_INFINITY }
  const moves = enough + 1
  const costs = here.map((instance) => ground.leastSeconds(instance)).sort((a, b) => a - b)
  let seconds = 0
  for (let index = 0; index < moves; index++) seconds += costs[index] ?? 0
  return { moves, seconds }
}

function isMovable({ state, spec }: Instance): boolean {
  return state === 'ready' && !spec.pinned
}

/** The hole's own and the emptiest others, those first to which what lies in the hole may go. */
function devicesAround({ view, emptiest }: MoveGround, { devices }: Hole): readonly Device[] {
  const inTheWay = devices.flatMap(({ id }) => (view.instancesOn.get(id) ?? []).filter(isMovable))
  const near: Device[] = []
  const far: Device[] = []
  for (const device of emptiest) {
    if (devices.includes(device)) continue
    const list = inTheWay.some(({ spec }) => isAllowedOn(spec, device)) ? near : far
    if (list.length < BESIDE_MAX) list.push(device)
    if (near.length === BESIDE_MAX) break
  }
  return [...devices, ...near, ...far.slice(0, BESIDE_MAX - near.length)]
}

/**
 * Other places for the instance, over no more devices than now, and on no machine's own memory unless it runs there
 * already: it would be slow for as long as it lives.
 */
function targetsOf(view: ClusterView, instance: Instance, around: readonly Device[]): readonly Target[] {
  const { spec, shares } = instance
  const onCpu = shares.some(({ deviceId }) => view.devices.get(deviceId)?.kind === 'cpu')
  const allowed = around.filter((device) => isAllowedOn(spec, device) && (onCpu || device.kind !== 'cpu'))
  const measured = Math.max(...shares.map(({ bytes }) => bytes))
  const targets = new Map<string, Target>()
  for (const { count, pools } of spotTiers(allowed, Math.min(spec.splitMax, shares.length))) {
    const bytes = Math.max(shareBytes(spec, count), count === shares.length ? measured : 0)
    const free = ({ id }: Device) => (view.freeBytes.get(id) ?? 0) + bytesOn(shares, id)
    for (const devices of pools.flatMap((pool) => setsOf(pool, count, free))) {
      const nodeId = devices[0]?.nodeId ?? instance.nodeId
      const to = devices.map(({ id }) => ({ deviceId: id, bytes }))
      const isHome = count === shares.length && to.every(({ deviceId }) => bytesOn(shares, deviceId) > 0)
      if (isHome) continue
      const key = devices.map(({ id }) => id).join('\n')
      targets.set(key, { nodeId, to, seconds: loadMsOn(view.state, spec, nodeId) / 1_000 })
    }
  }
  return [...targets.values()]
}

/** A copy takes its load, and the old one goes once its requests have ended; without one, whoever asks waits too. */
function secondsOf({ inFlight }: Instance, { seconds }: Target, kind: Move['kind']): number {
  const requestSeconds = inFlight > 0 ? REQUEST_SECONDS : 0
  const away = (inFlight > 0 ? 1 : ASKED_MEANWHILE) * (requestSeconds + seconds)
  return seconds + requestSeconds + (kind === 'drain-first' ? away : 0)
}

function bytesOn(shares: readonly Share[], id: string): number {
  for (const { deviceId, bytes } of shares) if (deviceId === id) return bytes
  return 0
}
