import type { ModelDemand, PoolClient, Replica } from '../contracts/pool.ts'
import type { SlotUse } from '../contracts/pool-service.ts'
import type { Clock } from '../core/clock.ts'
import { confirmed, redivide, type SlotShare } from './slot-shares.ts'

export interface GatewayTablesParts {
  readonly pool: Pick<PoolClient, 'watchReplicas' | 'reportUse' | 'reportDemand'>
  /** Of this pool; see `contracts/epoch.ts`. */
  readonly epoch: number
  readonly clock: Clock
}

/** What a gateway may use. */
export interface ReplicaTable {
  /** Greater than that of every table before it, of whichever leader. */
  readonly version: number
  readonly replicas: readonly Replica[]
}

export interface UseReport {
  readonly uses: readonly SlotUse[]
  /** Of the latest table that the gateway has read, and abides by. */
  readonly version: number
}

/** A gateway that is no longer heard may work on for so long with what it had; its requests end meanwhile, or later. */
const FORGOTTEN_AFTER_MS = 10_000
/** Who asked for a model and may use none of it is waiting for one, until it says otherwise. */
const WISH_MS = 5_000
/** Room for the tables of one leader below those of the next; epochs are minutes, so that the product is exact. */
const VERSIONS_PER_EPOCH = 100_000_000

/** Replicas as each gateway sees them: with its own share of their slots. */
export class GatewayTables {
  private readonly gateways = new Map<string, Gateway>()
  private replicas: readonly Replica[] = []
  private version: number
  private readonly unwatch: () => void

  constructor(private readonly parts: GatewayTablesParts) {
    this.version = parts.epoch * VERSIONS_PER_EPOCH
    this.unwatch = parts.pool.watchReplicas((replicas) => this.show(replicas))
  }

  /**
   * Calls back at once with the gateway's table and after each change of it. Returns what ends the watch.
   * @param uses what it has in use from an earlier leader or connection
   */
  watch(id: string, uses: readonly SlotUse[], push: (table: ReplicaTable) => void): () => void {
    const gateway = this.gateways.get(id) ?? newGateway()
    this.gateways.set(id, gateway)
    gateway.cancel()
    gateway.push = push
    // What it does not name it does not use: it may have begun anew.
    const before = [...gateway.inUse.keys()]
    gateway.inUse.clear()
    for (const { replicaId, slots, inUse } of uses) {
      const share = gateway.shares.get(replicaId) ?? NO_SHARE
      gateway.shares.set(replicaId, { ...share, held: Math.max(share.held, slots, inUse) })
      if (inUse > 0) gateway.inUse.set(replicaId, inUse)
    }
    this.divide()
    this.tell(gateway)
    for (const replicaId of new Set([...before, ...gateway.inUse.keys()])) this.tellUse(replicaId)
    return () => {
      if (gateway.push !== push) return
      gateway.push = undefined
      gateway.cancel = this.parts.clock.schedule(FORGOTTEN_AFTER_MS, () => this.forget(id))
    }
  }

  reportUse(id: string, { uses, version }: UseReport): void {
    const gateway = this.gateways.get(id)
    if (!gateway) return
    for (const { replicaId, inUse } of uses) {
      // Of a replica that takes no new requests it has no share, and works on still.
      if (inUse > 0) gateway.inUse.set(replicaId, inUse)
      else gateway.inUse.delete(replicaId)
      const share = gateway.shares.get(replicaId)
      if (share) {
        const hasRead = version >= gateway.version
        const next = hasRead ? confirmed(share, inUse) : { ...share, held: Math.max(share.held, inUse) }
        gateway.shares.set(replicaId, next)
      }
      this.tellUse(replicaId)
    }
    this.divide()
  }

  reportDemand(id: string, models: readonly ModelDemand[]): void {
    const gateway = this.gateways.get(id)
    if (!gateway) return
    for (const one of models) {
      if (one.inFlight > 0 || one.queued > 0) gateway.demand.set(one.model, one)
      else gateway.demand.delete(one.model)
    }
    this.tellDemand(models)
    this.divide()
  }

  /** The gateway waits for a model that is ready, and has no part of it. */
  wish(id: string, model: string): void {
    const gateway = this.gateways.get(id)
    if (!gateway) return
    gateway.wishes.set(model, this.parts.clock.monotonic() + WISH_MS)
    this.divide()
  }

  stop(): void {
    this.unwatch()
    for (const { cancel } of this.gateways.values()) cancel()
    this.gateways.clear()
  }

  private show(replicas: readonly Replica[]): void {
    const known = new Set(this.replicas.map(({ id }) => id))
    this.replicas = replicas
    this.divide()
    for (const gateway of this.gateways.values()) this.tell(gateway)
    // One that came with its node may have been at work before, for gateways that were here first.
    for (const { id } of replicas) if (!known.has(id) && this.sum(id) > 0) this.tellUse(id)
  }

  /** Divides the slots of every replica anew, and tells whoever has another share than before. */
  private divide(): void {
    const changed = new Set<Gateway>()
    const gateways = [...this.gateways.values()]
    for (const { id, model, slots } of this.replicas) {
      const before = gateways.map((gateway) => ({
        ...(gateway.shares.get(id) ?? NO_SHARE),
        demand: this.demandOf(gateway, id, model),
      }))
      for (const [at, share] of redivide(slots, before).entries()) {
        const gateway = gateways[at]
        if (!gateway) continue
        if (share.told !== before[at]?.told) changed.add(gateway)
        gateway.shares.set(id, share)
      }
    }
    for (const gateway of changed) this.tell(gateway)
  }

  private demandOf({ inUse, demand, wishes }: Gateway, replicaId: string, model: string): number {
    const replicas = this.replicas.filter((one) => one.model === model).length
    const waiting = Math.ceil((demand.get(model)?.queued ?? 0) / Math.max(1, replicas))
    const wished = (wishes.get(model) ?? 0) > this.parts.clock.monotonic() ? 1 : 0
    return Math.max(wished, (inUse.get(replicaId) ?? 0) + waiting)
  }

  private tell(gateway: Gateway): void {
    this.version += 1
    gateway.version = this.version
    const replicas = this.replicas.map((replica) => ({
      ...replica,
      slots: gateway.shares.get(replica.id)?.told ?? 0,
    }))
    const present = new Set(this.replicas.map(({ id }) => id))
    for (const id of [...gateway.shares.keys()]) if (!present.has(id)) gateway.shares.delete(id)
    gateway.push?.({ version: this.version, replicas: replicas.filter(({ slots }) => slots > 0) })
  }

  private forget(id: string): void {
    const gateway = this.gateways.get(id)
    this.gateways.delete(id)
    if (!gateway) return
    for (const replicaId of gateway.inUse.keys()) this.tellUse(replicaId)
    const ended = [...gateway.demand.keys()]
    if (ended.length > 0) this.tellDemand(ended.map((model) => ({ model, arrivals: 0 })))
    this.divide()
  }

  /**
   * The pool takes models that it hears nothing of for not asked for, so it is told of all.
   * @param news what has come since it was told last
   */
  private tellDemand(news: readonly Pick<ModelDemand, 'model' | 'arrivals'>[]): void {
    const demands = [...this.gateways.values()].map(({ demand }) => demand)
    const arrivals = new Map(news.map((one) => [one.model, one.arrivals]))
    const models = new Set([...arrivals.keys(), ...demands.flatMap((demand) => [...demand.keys()])])
    const all = [...models].map((model) => {
      const heard = demands.flatMap((demand) => demand.get(model) ?? [])
      return {
        ...{ model, arrivals: arrivals.get(model) ?? 0 },
        inFlight: heard.reduce((sum, { inFlight }) => sum + inFlight, 0),
        queued: heard.reduce((sum, { queued }) => sum + queued, 0),
      }
    })
    this.parts.pool.reportDemand(all)
  }

  private tellUse(replicaId: string): void {
    this.parts.pool.reportUse(replicaId, this.sum(replicaId))
  }

  private sum(replicaId: string): number {
    return [...this.gateways.values()].reduce((sum, { inUse }) => sum + (inUse.get(replicaId) ?? 0), 0)
  }
}

interface Gateway {
  push: ((table: ReplicaTable) => void) | undefined
  /** Of the table that it was told last. */
  version: number
  readonly shares: Map<string, SlotShare>
  readonly inUse: Map<string, number>
  /** As it told it last. */
  readonly demand: Map<string, ModelDemand>
  /** Models that it waits for though they are ready, with until when that counts. */
  readonly wishes: Map<string, number>
  cancel: () => void
}

const NO_SHARE: SlotShare = { told: 0, held: 0, demand: 0 }

function newGateway(): Gateway {
  return {
    ...{ push: undefined, version: 0, shares: new Map(), inUse: new Map() },
    ...{ demand: new Map(), wishes: new Map(), cancel: () => {} },
  }
}
