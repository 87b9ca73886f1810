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

/** The devices around a hole with what lies on them, for a search that makes moves and takes them back. */
export class MoveBoard {
  private readonly view: ClusterView
  private readonly hole: Hole
  private readonly around: readonly Device[]
  private readonly freeBytes: Map<string, number>
  private readonly pieces: readonly Piece[]
  private readonly moved = new Set<Piece>()

  constructor(view: ClusterView, hole: Hole) {
    this.view = view
    this.hole = hole
    this.around = devicesAround(view, hole)
    this.freeBytes = new Map(this.around.map(({ id }) => [id, view.freeBytes.get(id) ?? 0]))
    const instances = new Set(
      this.around.flatMap(({ id }) => (view.instancesOn.get(id) ?? []).filter(isMovable)),
    )
    this.pieces = [...instances].map((instance) => ({ instance, targets: undefined, at: instance.shares }))
  }

  /** At least so many moves are needed before the hole is open: none when it is, infinitely many when it never can be. */
  movesNeeded(): number {
    let needed = 0
    for (const { id } of this.hole.devices) {
      const missing = this.hole.bytes - this.free(id)
      if (missing <= 0) continue
      const sizes = this.pieces.map((piece) => (this.moved.has(piece) ? 0 : bytesOn(piece.at, id)))
      needed = Math.max(needed, countFor(missing, sizes))
    }
    return needed
  }

  /**
   * Every move that there is room for, the cheapest first.
   * @param aside also those that take nothing away from where the hole is to be
   */
  possibleMoves(aside: boolean): readonly PossibleMove[] {
    const possible: PossibleMove[] = []
    for (const piece of this.pieces) {
      if (this.moved.has(piece) || !(aside || this.isInTheWay(piece))) continue
      piece.targets ??= targetsOf(this.view, piece.instance, this.around)
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

/** At least so many moves open the hole, as a look at its own devices tells. */
export function leastMoves({ freeBytes, instancesOn }: ClusterView, { devices, bytes }: Hole): number {
  let needed = 0
  for (const { id } of devices) {
    const missing = bytes - (freeBytes.get(id) ?? 0)
    if (missing <= 0) continue
    const here = (instancesOn.get(id) ?? []).filter(isMovable)
    needed = Math.max(
      needed,
      countFor(
        missing,
        here.map(({ shares }) => bytesOn(shares, id)),
      ),
    )
  }
  return needed
}

/** How many of the sizes, the largest first, make up what is missing; infinitely many when all do not. */
function countFor(missingBytes: number, sizes: number[]): number {
  sizes.sort((a, b) => b - a)
  let missing = missingBytes
  const enough = sizes.findIndex((bytes) => {
    missing -= bytes
    return missing <= 0
  })
  return enough < 0 ? Number.POSITIVE_INFINITY : enough + 1
}

function isMovable({ state, spec }: Instance): boolean {
  return state === 'ready' && !spec.pinned
}

/** The hole's own and the emptiest others, those first to which what lies in the hole may go. */
function devicesAround({ state, freeBytes, instancesOn }: ClusterView, { devices }: Hole): readonly Device[] {
  const inTheWay = devices.flatMap(({ id }) => (instancesOn.get(id) ?? []).filter(isMovable))
  const others = state.devices
    .filter((device) => device.health === 'ok' && !devices.includes(device))
    .map((device) => ({
      device,
      far: inTheWay.some(({ spec }) => isAllowedOn(spec, device)) ? 0 : 1,
      free: freeBytes.get(device.id) ?? 0,
    }))
    .sort((a, b) => a.far - b.far || b.free - a.free)
  return [...devices, ...others.slice(0, BESIDE_MAX).map(({ device }) => device)]
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
  for (const { count, pools } of spotTiers(allowed, spec)) {
    if (count > shares.length) continue
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
