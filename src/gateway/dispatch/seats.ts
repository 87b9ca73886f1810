import type { PoolClient, Replica } from '../../contracts/pool.ts'
import type { Clock } from '../../core/clock.ts'
import { PrefixIndex } from '../../scheduler/prefix-index.ts'
import { RecentWork } from '../../scheduler/recent-work.ts'
import { type Candidate, chooseReplica, ROUTING, type RouteReason } from '../../scheduler/routing.ts'
import type { Want } from './lease.ts'
import { BLOCK_TOKENS } from './prompt-blocks.ts'

export interface SeatsOptions {
  readonly pool: Pick<PoolClient, 'reportUse'>
  readonly clock: Clock
  /** Whether requests may go there at the moment, for reasons that the table of the pool does not know. */
  usable(replica: Replica): boolean
}

/** What a request will probably take where it goes. */
export interface Load {
  readonly cost: number
  /** To work off one token of a prompt. */
  readonly msPerCost: number
}

/** Slots that were taken. */
export interface Taken {
  readonly replica: Replica
  readonly route: RouteReason
  /**
   * Gives them back, exactly once. `reuse` gives them to those who wait, before the pool could hear that the replica is
   * idle and take it away.
   */
  release(reuse: () => void): void
}

interface Seat {
  replica: Replica
  inUse: number
  /** Slots that a test of the replica has. They are no use of it: the pool does not hear of them. */
  borrowed: number
  /** When a request had it last, on the monotonic clock. */
  usedAtMs: number
  /** Test after test failed: it is asked only while no other may be. */
  isAiling: boolean
  /** No longer in the pool's table; only the requests that it has are left. */
  leaving: boolean
  suspectUntilMs: number
  /** Cost of the requests that it has. */
  atWork: number
  readonly recent: RecentWork
}

/** How long a replica that broke a connection is passed over, unless the pool says sooner what became of it. */
export const SUSPECT_MS = 1_000

/** Work of the last minutes counts for the share that a replica has had. */
const RECENT_HALF_LIFE_MS = 60_000
/** A few conversations may keep to one replica while the others idle. */
const SLACK_PER_SLOT = 8_192
/** Where the engine does not say what it remembers. */
const CONTEXT_TOKENS = 8_192
/** Some 10 MB of names, for eight million tokens: more than any engine remembers, whatever slots an upstream is said to have. */
const BLOCKS_KEPT_MAX = 65_536
const POLICY = { ...ROUTING, slack: SLACK_PER_SLOT }

/** The replicas as the pool's table has them, with what this gateway has given each to do. */
export class Seats {
  private readonly seats = new Map<string, Seat>()
  /** Those in the table. */
  private byModel: ReadonlyMap<string, readonly Seat[]> = new Map()
  private readonly prefixes = new PrefixIndex<string>()

  constructor(private readonly options: SeatsOptions) {}

  /** Whether a request for the model can get there, now or when a slot comes free. */
  has(model: string): boolean {
    return this.ofModel(model).some((seat) => this.isOpen(seat))
  }

  /** Slots of the replica that is best for it; undefined while none has enough free. */
  take(want: Want, load: Load): Taken | undefined {
    const seats = this.ofModel(want.model)
    const eligible = preferred(
      seats.filter((seat) => this.isOpen(seat)),
      want.avoid,
    )
    const open = eligible.filter((seat) => slotsFree(seat) >= slotsFor(want, seat))
    // With one replica there is nothing to choose, and nothing to remember.
    const blocks = seats.length > 1 && open.length > 0 ? want.blocks() : []
    const candidates = open.map((seat) => this.candidate(seat, blocks, load))
    const route = chooseReplica(candidates, { promptTokens: want.promptTokens, work: load.cost }, POLICY)
    if (!route) return undefined
    const { seat, hitTokens } = route.candidate
    const { id, slots, contextLength } = seat.replica
    const blocksKept = Math.floor((slots * (contextLength ?? CONTEXT_TOKENS)) / BLOCK_TOKENS)
    if (blocks.length > 0) this.prefixes.note(id, blocks, Math.min(blocksKept, BLOCKS_KEPT_MAX))
    const cost = Math.max(0, load.cost - Math.min(hitTokens, want.promptTokens))
    return {
      replica: seat.replica,
      route: route.reason,
      release: this.occupy(seat, slotsFor(want, seat), cost),
    }
  }

  /** The pool's table, as it is now. A replica that left it ends the requests that it has. */
  replace(replicas: readonly Replica[]): void {
    const byModel = new Map<string, Seat[]>()
    const present = new Set<Seat>()
    for (const replica of replicas) {
      const seat = this.seats.get(replica.id) ?? newSeat(replica)
      // Its slots may have changed while some are in use.
      seat.replica = replica
      seat.leaving = false
      this.seats.set(replica.id, seat)
      present.add(seat)
      byModel.set(replica.model, [...(byModel.get(replica.model) ?? []), seat])
    }
    this.byModel = byModel
    for (const seat of this.seats.values()) {
      if (present.has(seat)) continue
      seat.leaving = true
      this.leave(seat)
    }
  }

  /** Passes over a replica for a moment: a connection to it broke. @returns its model */
  suspect(replicaId: string): string | undefined {
    const seat = this.seats.get(replicaId)
    if (seat) seat.suspectUntilMs = this.options.clock.monotonic() + SUSPECT_MS
    return seat?.replica.model
  }

  /**
   * A slot for a test of the replica, where one is free. It counts as no use: neither for the pool, nor for who is next.
   * Returns what gives it back.
   */
  borrow(replicaId: string): (() => void) | undefined {
    const seat = this.seats.get(replicaId)
    if (!seat || seat.leaving || !this.isOpen(seat) || slotsFree(seat) < 1) return undefined
    seat.borrowed++
    return () => {
      seat.borrowed--
      this.leave(seat)
    }
  }

  /** When a request had that replica last, which is now while one has it; undefined for one that is not here. */
  usedAtMs(replicaId: string): number | undefined {
    const seat = this.seats.get(replicaId)
    return seat && seat.inUse > 0 ? this.options.clock.monotonic() : seat?.usedAtMs
  }

  /** Whether that replica is asked like any other, or only while no other may be. @returns its model */
  trust(replicaId: string, isTrusted: boolean): string | undefined {
    const seat = this.seats.get(replicaId)
    if (seat) seat.isAiling = !isTrusted
    return seat?.replica.model
  }

  private ofModel(model: string): readonly Seat[] {
    return this.byModel.get(model) ?? NONE
  }

  private isOpen({ replica, suspectUntilMs }: Seat): boolean {
    return suspectUntilMs <= this.options.clock.monotonic() && this.options.usable(replica)
  }

  private candidate(
    seat: Seat,
    blocks: readonly string[],
    { msPerCost }: Load,
  ): Candidate & { readonly seat: Seat } {
    const { replica, atWork, recent } = seat
    const { weight = 1 } = replica
    return {
      id: replica.id,
      seat,
      waitMs: (atWork / (replica.slots * weight)) * msPerCost,
      prefillMs: msPerCost,
      hitTokens: BLOCK_TOKENS * this.prefixes.hits(replica.id, blocks),
      load: recent.at(this.options.clock.monotonic()),
      capacity: replica.slots * weight,
    }
  }

  private occupy(seat: Seat, slots: number, cost: number): Taken['release'] {
    const { pool, clock } = this.options
    const { id } = seat.replica
    seat.inUse += slots
    seat.atWork += cost
    seat.usedAtMs = clock.monotonic()
    seat.recent.add(cost, clock.monotonic())
    pool.reportUse(id, seat.inUse)
    return (reuse) => {
      seat.inUse -= slots
      seat.atWork -= cost
      seat.usedAtMs = clock.monotonic()
      reuse()
      this.leave(seat)
      pool.reportUse(id, seat.inUse)
    }
  }

  /** Forgets one that left the table, once nobody has it. */
  private leave({ replica, leaving, inUse, borrowed }: Seat): void {
    if (!leaving || inUse > 0 || borrowed > 0) return
    this.seats.delete(replica.id)
    this.prefixes.forget(replica.id)
  }
}

const NONE: readonly Seat[] = []

/** Not where it has failed, not at what fails its tests, and not at what is there for when all else fails, as long as there is another. */
function preferred(open: readonly Seat[], avoid: ReadonlySet<string>): readonly Seat[] {
  const fresh = avoid.size === 0 ? open : open.filter(({ replica }) => !avoid.has(replica.id))
  const sound = fresh.filter(({ isAiling }) => !isAiling)
  const candidates = sound.length > 0 ? sound : fresh.length > 0 ? fresh : open
  const usual = candidates.filter(({ replica }) => !replica.fallback)
  return usual.length > 0 ? usual : candidates
}

function newSeat(replica: Replica): Seat {
  const recent = new RecentWork(RECENT_HALF_LIFE_MS)
  return {
    ...{ replica, inUse: 0, borrowed: 0, leaving: false, isAiling: false },
    ...{ usedAtMs: Number.NEGATIVE_INFINITY, suspectUntilMs: 0, atWork: 0, recent },
  }
}

/** Below one while more are in use than it now has. */
function slotsFree({ replica, inUse, borrowed }: Seat): number {
  return replica.slots - inUse - borrowed
}

/** A request with more choices than a replica has slots takes all of them; the engine works them off in turn. */
function slotsFor({ slots }: Want, { replica }: Seat): number {
  return Math.max(1, Math.min(slots, replica.slots))
}
