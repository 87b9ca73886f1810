import type { Clock } from '../core/clock.ts'
import { HelixError } from '../core/errors.ts'
import type { Refusal } from '../scheduler/actions.ts'
import type { ModelDemand } from '../scheduler/events.ts'
import type { Instance } from '../scheduler/state.ts'
import type { BatchingEngine } from './batching-engine.ts'
import type { Job, JobEnd } from './job.ts'
import type { PoolListener, ReplayedPool } from './replayed-pool.ts'
import { chooseSeat, type RoutingSeat } from './routing.ts'
import type { ModelProfile, Scenario } from './scenario.ts'

/** An engine whose first token never came is tried once more elsewhere, as the live dispatcher does. */
const ATTEMPTS_MAX = 2

interface Seat extends RoutingSeat {
  readonly id: string
  readonly engine: BatchingEngine
  readonly jobs: Set<Job>
  isLeaving: boolean
}

interface ModelDesk {
  readonly profile: ModelProfile
  queue: Job[]
  readonly seats: Map<string, Seat>
  arrivals: number
  isRefused: boolean
}

/** The dispatcher's part of a replay: a queue per model, slots per instance, and who goes where. */
export class ReplayedGateway implements PoolListener {
  private readonly desks = new Map<string, ModelDesk>()
  private readonly seatOf = new Map<string, Seat>()
  private readonly timers = new Map<Job, () => void>()
  private pool: ReplayedPool | undefined

  constructor(
    private readonly scenario: Scenario,
    private readonly clock: Clock,
    private readonly ended: (job: Job) => void,
  ) {
    for (const profile of scenario.models) {
      const desk = { profile, queue: [], seats: new Map(), arrivals: 0, isRefused: false }
      this.desks.set(profile.spec.name, desk)
    }
  }

  connect(pool: ReplayedPool): void {
    this.pool = pool
  }

  accept(job: Job): void {
    const desk = this.deskOf(job)
    desk.arrivals += 1
    const { queueMax, waitMaxMs, patienceMs } = this.scenario.gateway
    if (desk.isRefused || desk.queue.length >= queueMax) {
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
      demand.push({ model, arrivals: desk.arrivals, inFlight, queued: desk.queue.length })
      desk.arrivals = 0
    }
    return demand
  }

  ready({ id, spec }: Instance, engine: BatchingEngine): void {
    const desk = this.desks.get(spec.name)
    if (!desk) return
    const seat: Seat = { id, engine, slots: spec.slots, jobs: new Set(), inUse: 0, isLeaving: false }
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
    for (const job of desk.queue.splice(0)) this.end(job, 'refused')
  }

  finished(job: Job): void {
    const desk = this.deskOf(job)
    const seat = this.seatOf.get(job.instanceId ?? '')
    this.end(job, 'served')
    if (seat) this.release(desk, seat, job)
  }

  private enqueue(desk: ModelDesk, job: Job): void {
    desk.queue.push(job)
    this.serve(desk)
    this.askIfNeeded(desk)
  }

  /** Gives slots to those that wait, the first that came first. */
  private serve(desk: ModelDesk): void {
    for (let job = desk.queue[0]; job; job = desk.queue[0]) {
      const open = [...desk.seats.values()].filter(({ isLeaving }) => !isLeaving)
      const seat = chooseSeat(open, job.request, this.scenario.gateway.routing)
      if (!seat) break
      desk.queue.shift()
      this.sit(seat, job)
    }
  }

  private sit(seat: Seat, job: Job): void {
    this.timers.get(job)?.()
    this.timers.delete(job)
    job.attempts += 1
    job.instanceId = seat.id
    seat.jobs.add(job)
    seat.inUse += 1
    if (seat.inUse === 1) this.pool?.post({ kind: 'use-changed', instanceId: seat.id, inFlight: 1 })
    seat.engine.admit(job)
  }

  private release(desk: ModelDesk, seat: Seat, job: Job): void {
    seat.jobs.delete(job)
    seat.inUse -= 1
    this.serve(desk)
    if (seat.inUse > 0) return
    if (seat.isLeaving) this.forget(desk, seat.id)
    this.pool?.post({ kind: 'use-changed', instanceId: seat.id, inFlight: 0 })
  }

  /** Has the model loaded when somebody waits and nothing is on its way. */
  private askIfNeeded(desk: ModelDesk): void {
    if (desk.queue.length === 0) return
    if ([...desk.seats.values()].some(({ isLeaving }) => !isLeaving)) return
    for (const job of desk.queue) job.cold = true
    const { spec } = desk.profile
    if (!this.pool?.expects(spec.name)) this.pool?.post({ kind: 'model-wanted', spec })
  }

  private expire(job: Job, why: JobEnd): void {
    const desk = this.deskOf(job)
    desk.queue = desk.queue.filter((waiting) => waiting !== job)
    this.end(job, why)
    if (desk.queue.length === 0) this.pool?.post({ kind: 'model-unwanted', model: job.request.model })
  }

  private end(job: Job, end: JobEnd): void {
    this.timers.get(job)?.()
    this.timers.delete(job)
    job.end = end
    job.endMs = this.clock.monotonic()
    this.ended(job)
  }

  private forget(desk: ModelDesk, instanceId: string): void {
    desk.seats.delete(instanceId)
    this.seatOf.delete(instanceId)
  }

  private deskOf({ request: { model } }: Job): ModelDesk {
    const desk = this.desks.get(model)
    if (desk) return desk
    throw new HelixError('model_not_found', `The cluster has no model '${model}', which the trace asks for.`)
  }
}
