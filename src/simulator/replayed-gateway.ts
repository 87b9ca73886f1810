import type { Clock } from '../core/clock.ts'
import { HelixError } from '../core/errors.ts'
import type { Refusal } from '../scheduler/actions.ts'
import type { ModelDemand } from '../scheduler/events.ts'
import { FairQueue, type Turn, tokenCost } from '../scheduler/fair-queue.ts'
import { PrefixIndex } from '../scheduler/prefix-index.ts'
import { ServiceEstimate } from '../scheduler/service-estimate.ts'
import type { Instance } from '../scheduler/state.ts'
import type { BatchingEngine } from './batching-engine.ts'
import { BLOCK_TOKENS, type Job, type JobEnd } from './job.ts'
import type { PoolListener, ReplayedPool } from './replayed-pool.ts'
import { chooseSeat, newSeat, type RoutingParts, type RoutingSeat } from './routing.ts'
import type { ModelProfile, Scenario } from './scenario.ts'

/** An engine whose first token never came is tried once more elsewhere, as the live dispatcher does. */
const ATTEMPTS_MAX = 2

/** Of the wait that is allowed, after so much of it a request counts as of the next tier. */
const AGES_PER_TIMEOUT = 4

interface Seat extends RoutingSeat {
  readonly engine: BatchingEngine
  /** With what each was expected to cost here. */
  readonly jobs: Map<Job, number>
  isLeaving: boolean
}

interface Ticket extends Turn {
  readonly job: Job
}

interface ModelDesk {
  readonly profile: ModelProfile
  readonly queue: FairQueue<Ticket>
  /** Of requests that have not ended. */
  readonly tickets: Map<Job, Ticket>
  readonly waiting: Set<Ticket>
  readonly estimate: ServiceEstimate
  readonly seats: Map<string, Seat>
  arrivals: number
  isRefused: boolean
}

/** The dispatcher's part of a replay: a queue per model, slots per instance, and who goes where. */
export class ReplayedGateway implements PoolListener {
  private readonly desks = new Map<string, ModelDesk>()
  private readonly seatOf = new Map<string, Seat>()
  private readonly timers = new Map<Job, () => void>()
  private readonly routing: RoutingParts
  private pool: ReplayedPool | undefined

  constructor(
    private readonly scenario: Scenario,
    private readonly clock: Clock,
    private readonly ended: (job: Job) => void,
  ) {
    const { routing, fairness, waitMaxMs } = scenario.gateway
    this.routing = { routing, clock, prefixes: new PrefixIndex() }
    for (const profile of scenario.models) {
      this.desks.set(profile.spec.name, {
        ...{ profile, seats: new Map(), arrivals: 0, isRefused: false },
        queue: new FairQueue({ by: fairness, ageMs: waitMaxMs / AGES_PER_TIMEOUT }),
        ...{ tickets: new Map(), waiting: new Set(), estimate: new ServiceEstimate() },
      })
    }
  }

  connect(pool: ReplayedPool): void {
    this.pool = pool
  }

  accept(job: Job): void {
    const desk = this.deskOf(job)
    desk.arrivals += 1
    const { queueMax, waitMaxMs, patienceMs } = this.scenario.gateway
    if (desk.isRefused || desk.queue.size >= queueMax) {
      this.end(job, 'refused')
      return
    }
    const leaves = patienceMs !== undefined && patienceMs < waitMaxMs
    const limitMs = leaves ? patienceMs : waitMaxMs
    const expire = () => this.expire(job, leaves ? 'cancelled' : 'refused')
    this.timers.set(job, this.clock.schedule(limitMs, expire))
    this.enqueue(desk, job)
  }

  /** What was asked for since it was last said. */
  demand(): readonly ModelDemand[] {
    const demand: ModelDemand[] = []
    for (const [model, desk] of this.desks) {
      const inFlight = [...desk.seats.values()].reduce((sum, { jobs }) => sum + jobs.size, 0)
      demand.push({ model, arrivals: desk.arrivals, inFlight, queued: desk.queue.size })
      desk.arrivals = 0
    }
    return demand
  }

  ready({ id, spec }: Instance, engine: BatchingEngine): void {
    const desk = this.desks.get(spec.name)
    if (!desk) return
    const seat: Seat = { ...newSeat(id, spec.slots), engine, jobs: new Map(), isLeaving: false }
    desk.seats.set(id, seat)
    this.seatOf.set(id, seat)
    this.serve(desk)
  }

  leaving(instanceId: string): void {
    const seat = this.seatOf.get(instanceId)
    if (seat) seat.isLeaving = true
    for (const desk of this.desks.values()) {
      if (!desk.seats.has(instanceId)) continue
      if (seat?.jobs.size === 0) this.forget(desk, instanceId)
      this.askIfNeeded(desk)
    }
  }

  lost(instanceId: string, jobs: readonly Job[]): void {
    for (const job of jobs) {
      const desk = this.deskOf(job)
      this.seatOf.get(instanceId)?.jobs.delete(job)
      this.forget(desk, instanceId)
      if (job.firstTokenMs !== undefined || job.attempts >= ATTEMPTS_MAX) this.end(job, 'failed')
      else this.enqueue(desk, job)
    }
  }

  gone(model: string): void {
    const desk = this.desks.get(model)
    if (desk) this.askIfNeeded(desk)
  }

  /** Without a reason that may pass the model is in quarantine, and stays there. */
  refused(model: string, refusal: Refusal | undefined): void {
    const desk = this.desks.get(model)
    if (!desk) return
    desk.isRefused = refusal === undefined
    for (const { job } of [...desk.waiting]) {
      this.leaveQueue(desk, job)
      this.end(job, 'refused')
    }
  }

  finished(job: Job): void {
    const desk = this.deskOf(job)
    const seat = this.seatOf.get(job.instanceId ?? '')
    this.settle(desk, job)
    this.end(job, 'served')
    if (seat) this.release(desk, seat, job)
  }

  private enqueue(desk: ModelDesk, job: Job): void {
    const ticket = desk.tickets.get(job) ?? this.ticketOf(desk, job)
    desk.tickets.set(job, ticket)
    desk.waiting.add(ticket)
    desk.queue.add(ticket, this.clock.monotonic())
    this.serve(desk)
    this.askIfNeeded(desk)
  }

  /** As the live queue sees a request: how long its answer will be nobody knows. */
  private ticketOf({ estimate }: ModelDesk, job: Job): Ticket {
    const { tenant, promptTokens } = job.request
    const { cost, serviceMs } = estimate.of({ promptTokens, outputTokensMax: undefined, choices: 1 })
    const deadlineMs = this.clock.monotonic() + this.scenario.gateway.waitMaxMs
    return { job, tenant, tier: 'default', deadlineMs, predictedMs: serviceMs, cost }
  }

  /** Gives slots to those that wait, in the fair order. */
  private serve(desk: ModelDesk): void {
    const nowMs = this.clock.monotonic()
    for (let ticket = desk.queue.next(nowMs); ticket; ticket = desk.queue.next(nowMs)) {
      const open = [...desk.seats.values()].filter(({ isLeaving }) => !isLeaving)
      const work = { cost: ticket.cost, msPerCost: desk.estimate.msPerCost }
      const chosen = chooseSeat(open, ticket.job, work, this.routing)
      if (!chosen) break
      desk.queue.start(ticket)
      desk.waiting.delete(ticket)
      const { blocks } = ticket.job.request
      this.routing.prefixes.note(chosen.seat.id, blocks, desk.profile.prefixBlocksMax)
      this.sit(chosen.seat, ticket.job, chosen.cost)
    }
  }

  private sit(seat: Seat, job: Job, cost: number): void {
    this.timers.get(job)?.()
    this.timers.delete(job)
    job.attempts += 1
    job.instanceId = seat.id
    seat.jobs.set(job, cost)
    seat.inUse += 1
    seat.atWork += cost
    seat.recent.add(cost, this.clock.monotonic())
    if (seat.inUse === 1) this.pool?.post({ kind: 'use-changed', instanceId: seat.id, inFlight: 1 })
    seat.engine.admit(job)
  }

  private release(desk: ModelDesk, seat: Seat, job: Job): void {
    seat.atWork -= seat.jobs.get(job) ?? 0
    seat.jobs.delete(job)
    seat.inUse -= 1
    this.serve(desk)
    if (seat.inUse > 0) return
    if (seat.isLeaving) this.forget(desk, seat.id)
    this.pool?.post({ kind: 'use-changed', instanceId: seat.id, inFlight: 0 })
  }

  /** What it took is known: it is charged for that instead, and the next ones are guessed by it. */
  private settle({ queue, tickets, estimate }: ModelDesk, job: Job): void {
    const ticket = tickets.get(job)
    if (!ticket) return
    const { promptTokens, outputTokens } = job.request
    const cachedTokens = job.blocksHit * BLOCK_TOKENS
    const used = { promptTokens, completionTokens: outputTokens, cachedTokens }
    queue.settle(ticket, tokenCost(used))
    estimate.learn(used, { choices: 1 }, this.clock.monotonic() - (job.startedMs ?? 0))
  }

  private leaveQueue(desk: ModelDesk, job: Job): void {
    const ticket = desk.tickets.get(job)
    if (!ticket) return
    desk.queue.remove(ticket)
    desk.waiting.delete(ticket)
  }

  /** Has the model loaded when somebody waits and nothing is on its way. */
  private askIfNeeded(desk: ModelDesk): void {
    if (desk.queue.size === 0) return
    if ([...desk.seats.values()].some(({ isLeaving }) => !isLeaving)) return
    for (const { job } of desk.waiting) job.cold = true
    const { spec } = desk.profile
    if (!this.pool?.expects(spec.name)) this.pool?.post({ kind: 'model-wanted', spec })
  }

  private expire(job: Job, why: JobEnd): void {
    const desk = this.deskOf(job)
    this.leaveQueue(desk, job)
    this.end(job, why)
    if (desk.queue.size === 0) this.pool?.post({ kind: 'model-unwanted', model: job.request.model })
  }

  private end(job: Job, end: JobEnd): void {
    this.timers.get(job)?.()
    this.timers.delete(job)
    this.desks.get(job.request.model)?.tickets.delete(job)
    job.end = end
    job.endMs = this.clock.monotonic()
    this.ended(job)
  }

  private forget(desk: ModelDesk, instanceId: string): void {
    desk.seats.delete(instanceId)
    this.seatOf.delete(instanceId)
    this.routing.prefixes.forget(instanceId)
  }

  private deskOf({ request: { model } }: Job): ModelDesk {
    const desk = this.desks.get(model)
    if (desk) return desk
    throw new HelixError('model_not_found', `The cluster has no model '${model}', which the trace asks for.`)
  }
}
