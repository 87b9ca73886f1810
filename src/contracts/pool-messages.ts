import { create } from '@bufbuild/protobuf'
import {
  type DeviceView as DeviceViewMessage,
  DeviceViewSchema,
  type ExplainModelResponse,
  ExplainModelResponseSchema,
  type ModelDemand as ModelDemandMessage,
  ModelDemandSchema,
  type ModelView as ModelViewMessage,
  ModelViewSchema,
  type MoveReport as MoveReportMessage,
  MoveReportSchema,
  type NodeView as NodeViewMessage,
  NodeViewSchema,
  type Replica as ReplicaMessage,
  ReplicaSchema,
  type SlotUse as SlotUseMessage,
  SlotUseSchema,
} from './gen/helixflow/v1/pool_pb.ts'
import { fromAddressMessage, toAddressMessage } from './node-messages.ts'
import type { DeviceView, Explanation, ModelDemand, ModelView, MoveReport, Replica } from './pool.ts'
import type { NodeView, SlotUse } from './pool-service.ts'
import { fromWholeIf, toMember, toWhole, toWholeIf } from './wire-values.ts'

// What the pool says and hears, between this program's own types and those of the wire.

const ENGINES = ['llama-server', 'vllm', 'sglang', 'upstream'] as const
const MODEL_STATES = ['available', 'loading', 'ready', 'unloading', 'failed', 'quarantined'] as const
const MOVE_KINDS = ['copy-first', 'drain-first'] as const

export function toModelMessage(view: ModelView): ModelViewMessage {
  const { sizeBytes, memoryBytes, contextLength, inFlight, replicas, devices, ...rest } = view
  return create(ModelViewSchema, {
    ...rest,
    sizeBytes: toWholeIf(sizeBytes),
    memoryBytes: toWholeIf(memoryBytes),
    contextLength: toWholeIf(contextLength),
    inFlight: toWhole(inFlight),
    replicas: toWhole(replicas),
    devices: [...devices],
  })
}

/** @throws HelixError `invalid_value` */
export function fromModelMessage(message: ModelViewMessage): ModelView {
  return {
    name: message.name,
    state: toMember(MODEL_STATES, message.state),
    engine: toMember(ENGINES, message.engine),
    reason: message.reason,
    sizeBytes: fromWholeIf(message.sizeBytes),
    memoryBytes: fromWholeIf(message.memoryBytes),
    contextLength: fromWholeIf(message.contextLength),
    quantization: message.quantization,
    architecture: message.architecture,
    source: message.source,
    sha256: message.sha256,
    addedAtMs: message.addedAtMs,
    inFlight: Number(message.inFlight),
    replicas: Number(message.replicas),
    devices: message.devices,
    unloadsAtMs: message.unloadsAtMs,
  }
}

export function toReplicaMessage(replica: Replica): ReplicaMessage {
  const { address, slots, contextLength, vocabularySize, ...rest } = replica
  return create(ReplicaSchema, {
    ...rest,
    address: toAddressMessage(address),
    slots: toWhole(slots),
    contextLength: toWholeIf(contextLength),
    vocabularySize: toWholeIf(vocabularySize),
  })
}

/** @throws HelixError `invalid_value` */
export function fromReplicaMessage(message: ReplicaMessage): Replica {
  return {
    id: message.id,
    model: message.model,
    engineModel: message.engineModel,
    engine: toMember(ENGINES, message.engine),
    address: fromAddressMessage(message.address),
    slots: Number(message.slots),
    contextLength: fromWholeIf(message.contextLength),
    supportsTools: message.supportsTools,
    continues: message.continues,
    vocabularySize: fromWholeIf(message.vocabularySize),
    revision: message.revision,
    ...(message.weight !== undefined && { weight: message.weight }),
    ...(message.fallback !== undefined && { fallback: message.fallback }),
  }
}

export function toUseMessage({ replicaId, inUse, slots }: SlotUse): SlotUseMessage {
  return create(SlotUseSchema, { replicaId, inUse: toWhole(inUse), slots: toWhole(slots) })
}

export function fromUseMessage({ replicaId, inUse, slots }: SlotUseMessage): SlotUse {
  return { replicaId, inUse: Number(inUse), slots: Number(slots) }
}

export function toDemandMessage({ model, arrivals, inFlight, queued }: ModelDemand): ModelDemandMessage {
  return create(ModelDemandSchema, {
    model,
    arrivals: toWhole(arrivals),
    inFlight: toWhole(inFlight),
    queued: toWhole(queued),
  })
}

export function fromDemandMessage({ model, arrivals, inFlight, queued }: ModelDemandMessage): ModelDemand {
  return { model, arrivals: Number(arrivals), inFlight: Number(inFlight), queued: Number(queued) }
}

export function toExplanationMessage(explanation: Explanation): ExplainModelResponse {
  const { model, summary, candidates, evictions, decisions } = explanation
  return create(ExplainModelResponseSchema, {
    model,
    summary,
    candidates: candidates.map(({ devices, cost, parts }) => ({ devices: [...devices], cost, parts })),
    evictions: [...evictions],
    decisions: decisions.map((one) => ({ ...one })),
  })
}

export function fromExplanationMessage(message: ExplainModelResponse): Explanation {
  const { model, summary, candidates, evictions, decisions } = message
  return {
    model,
    summary,
    candidates: candidates.map(({ devices, cost, parts }) => ({ devices, cost, parts })),
    evictions,
    decisions: decisions.map(({ atMs, kind, instance, because }) => ({ atMs, kind, instance, because })),
  }
}

export function toDeviceViewMessage(view: DeviceView): DeviceViewMessage {
  const { totalBytes, foreignBytes, freeBytes, instances, ...rest } = view
  return create(DeviceViewSchema, {
    ...rest,
    totalBytes: toWhole(totalBytes),
    foreignBytes: toWhole(foreignBytes),
    freeBytes: toWhole(freeBytes),
    instances: instances.map(({ bytes, ...one }) => ({ ...one, bytes: toWhole(bytes) })),
  })
}

export function fromDeviceViewMessage(message: DeviceViewMessage): DeviceView {
  return {
    id: message.id,
    node: message.node,
    kind: message.kind,
    name: message.name,
    health: message.health,
    reason: message.reason,
    totalBytes: Number(message.totalBytes),
    foreignBytes: Number(message.foreignBytes),
    freeBytes: Number(message.freeBytes),
    utilization: message.utilization,
    temperatureCelsius: message.temperatureCelsius,
    powerWatts: message.powerWatts,
    instances: message.instances.map(({ id, model, state, bytes }) => ({
      ...{ id, model, state, bytes: Number(bytes) },
    })),
  }
}

export function toMovesMessage({ model, because, moves }: MoveReport): MoveReportMessage {
  return create(MoveReportSchema, {
    model,
    because,
    moves: moves.map((one) => ({ ...one, from: [...one.from], to: [...one.to] })),
  })
}

/** @throws HelixError `invalid_value` */
export function fromMovesMessage({ model, because, moves }: MoveReportMessage): MoveReport {
  return {
    model,
    because,
    moves: moves.map((one) => ({
      ...{ instance: one.instance, model: one.model, from: one.from, to: one.to },
      kind: toMember(MOVE_KINDS, one.kind),
    })),
  }
}

export function toNodeMessage({ id, rpcUrl, joinedAtMs, silentMs }: NodeView): NodeViewMessage {
  return create(NodeViewSchema, { id, rpcUrl, joinedAtMs, silentMs: toWhole(silentMs) })
}

export function fromNodeMessage({ id, rpcUrl, joinedAtMs, silentMs }: NodeViewMessage): NodeView {
  return { id, rpcUrl, joinedAtMs, silentMs: Number(silentMs) }
}
