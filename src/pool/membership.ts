import type { DeviceReport, NodeClient, RunningEngineView } from '../contracts/node.ts'
import type { Clock } from '../core/clock.ts'
import type { Logger } from '../core/log.ts'
import type { SchedulerEvent } from '../scheduler/events.ts'
import type { Device } from '../scheduler/state.ts'
import type { Catalogue } from './catalogue.ts'
import type { Effects } from './effects.ts'
import type { ModelRules } from './model-rules.ts'
import type { NodeDirectory } from './node-directory.ts'

export interface MembershipParts {
  readonly nodes: NodeDirectory
  readonly catalogue: Catalogue
  readonly rules: ModelRules
  readonly effects: Effects
  readonly clock: Clock
  readonly log: Logger
  post(event: SchedulerEvent): void
  knows(instanceId: string): boolean
}

/** Foreign memory below this difference moves nothing: others allocate and free all the time. */
const NOTICED_BYTES = 64 * 2 ** 20

/** One that runs and could not be reckoned is tried again after this. */
const RECKON_AGAIN_MS = 10_000

/** A node that is there and did not say what it runs is asked again after this. */
const ASK_AGAIN_MS = 1_000

/** Turns what happens to nodes and their devices into events. */
export class Membership {
  /** What each device of each node said last. */
  readonly reports = new Map<string, readonly DeviceReport[]>()
  private readonly unwatch = new Map<string, () => void>()
  private readonly told = new Map<string, readonly Device[]>()
  private readonly cancels = new Map<string, () => void>()
  private end: () => void = () => {}
  private stopped = false

  constructor(private readonly parts: MembershipParts) {}

  /** Returns once the nodes that are there have said what they have. */
  async start(): Promise<void> {
    let present: Promise<void>[] | undefined = []
    this.end = this.parts.nodes.watch(({ kind, nodeId }) => {
      if (kind === 'lost') return this.leave(nodeId)
      const joining = this.join(nodeId)
      present?.push(joining)
    })
    const asked = present
    present = undefined
    await Promise.all(asked)
  }

  stop(): void {
    this.stopped = true
    this.end()
    for (const end of [...this.unwatch.values(), ...this.cancels.values()]) end()
  }

  private async join(nodeId: string): Promise<void> {
    const node = this.parts.nodes.get(nodeId)
    if (!node) return
    await this.meet(node)
    // It may have gone while it was asked.
    if (!this.isHere(node)) return
    const exits = this.parts.effects.watchExits(node)
    const devices = node.watchDevices((reports) => this.changed(nodeId, reports))
    this.unwatch.get(nodeId)?.()
    this.unwatch.set(nodeId, () => {
      exits()
      devices()
    })
  }

  /** What it has, and what it runs; until that is known, its memory would seem to be free. */
  private async meet(node: NodeClient): Promise<void> {
    const { nodeId } = node
    try {
      const reports = await node.devices()
      if (this.isHere(node)) this.changed(nodeId, reports)
      const engines = await node.engines()
      // Now: one that is known and ends while the others are adopted would be taken for one that the pool has yet to know.
      const running = engines.filter(({ request }) => !this.parts.knows(request.instanceId))
      // To the catalogue one that does not answer has no files, and its engines would seem to be unwanted.
      if (running.length > 0) await node.listModels()
      const adoptions: boolean[] = []
      for (const engine of running) adoptions.push(await this.adopted(node, engine))
      if (adoptions.includes(false)) this.meetAgain(node, RECKON_AGAIN_MS)
    } catch (cause) {
      if (!this.isHere(node)) return
      this.parts.log.warn('node joined and did not answer', { node: nodeId, cause: String(cause) })
      this.meetAgain(node, ASK_AGAIN_MS)
    }
  }

  private meetAgain(node: NodeClient, afterMs: number): void {
    if (!this.isHere(node)) return
    const cancel = this.parts.clock.schedule(afterMs, () => void this.meet(node))
    this.cancels.set(node.nodeId, cancel)
  }

  /** Whether the pool knows it now, or it is told to end: one whose need cannot be reckoned keeps none of the others. */
  private async adopted(node: NodeClient, engine: RunningEngineView): Promise<boolean> {
    try {
      await this.adopt(node, engine)
      return true
    } catch (cause) {
      const { instanceId, model } = engine.request
      this.parts.log.warn('engine not adopted yet', { model, instance: instanceId, cause: String(cause) })
      return false
    }
  }

  private isHere(node: NodeClient): boolean {
    return !this.stopped && this.parts.nodes.get(node.nodeId) === node
  }

  private leave(nodeId: string): void {
    this.unwatch.get(nodeId)?.()
    this.unwatch.delete(nodeId)
    this.cancels.get(nodeId)?.()
    this.cancels.delete(nodeId)
    this.reports.delete(nodeId)
    this.told.delete(nodeId)
    this.parts.post({ kind: 'node-lost', nodeId })
    this.parts.effects.forget((id) => !this.parts.knows(id))
  }

  private changed(nodeId: string, reports: readonly DeviceReport[]): void {
    this.reports.set(nodeId, reports)
    const devices = reports.map((report) => this.toDevice(report, nodeId))
    const told = this.told.get(nodeId)
    if (told && !isNews(told, devices)) return
    this.told.set(nodeId, devices)
    this.parts.post({ kind: 'devices-changed', nodeId, devices })
  }

  /** What ran before we did goes on; what is not wanted as it is started ends. */
  private async adopt(node: NodeClient, { request, engine }: RunningEngineView): Promise<void> {
    const { instanceId, model, shape } = request
    if (this.parts.knows(instanceId)) return
    const entry = (await this.parts.catalogue.list()).find(({ file }) => file.name === model)
    if (!this.isHere(node)) return
    const isWanted =
      entry && JSON.stringify(this.parts.catalogue.shapeOf(entry.file)) === JSON.stringify(shape)
    if (!isWanted) return node.stop(instanceId)
    const spec = await this.parts.catalogue.specOf(entry)
    // Of a node that went meanwhile it would never be heard that its engine is gone.
    if (!this.isHere(node)) return
    this.parts.effects.setShape(model, shape)
    this.parts.effects.adopt(instanceId, { ...engine, model, shape })
    const shares = engine.shares ?? request.shares
    this.parts.post({
      kind: 'instance-adopted',
      instance: { id: instanceId, spec, nodeId: node.nodeId, shares },
    })
    this.parts.log.info('engine adopted', { model, instance: instanceId, node: node.nodeId })
  }

  private toDevice(report: DeviceReport, nodeId: string): Device {
    const { id, kind, totalBytes, foreignBytes, health, clique } = report
    const group = this.parts.rules.groupOf({ id, nodeId })
    return { id, nodeId, kind, totalBytes, foreignBytes, health, clique, group }
  }
}

function isNews(before: readonly Device[], now: readonly Device[]): boolean {
  if (before.length !== now.length) return true
  return now.some((device, index) => {
    const old = before[index]
    return (
      old?.id !== device.id ||
      old.health !== device.health ||
      old.totalBytes !== device.totalBytes ||
      Math.abs(old.foreignBytes - device.foreignBytes) >= NOTICED_BYTES
    )
  })
}
