import { create } from '@bufbuild/protobuf'
import { ERROR_CODES, HelixError } from '../core/errors.ts'
import {
  type DeviceReport as DeviceReportMessage,
  DeviceReportSchema,
  type DeviceShare as DeviceShareMessage,
  DeviceShareSchema,
  type EngineAddress as EngineAddressMessage,
  EngineAddressSchema,
  type EngineExit as EngineExitMessage,
  EngineExitSchema,
  type InstanceShape as InstanceShapeMessage,
  InstanceShapeSchema,
  type ModelFile as ModelFileMessage,
  ModelFileSchema,
  type RunningEngine,
  RunningEngineSchema,
  type StartEngineRequest,
  StartEngineRequestSchema,
  type StartEngineResponse,
  StartEngineResponseSchema,
  type StartedEngine as StartedEngineMessage,
  StartedEngineSchema,
} from './gen/helixflow/v1/node_pb.ts'
import type {
  DeviceReport,
  DeviceShare,
  EngineExit,
  InstanceShape,
  ModelFile,
  RunningEngineView,
  StartedEngine,
  StartOutcome,
  StartRequest,
} from './node.ts'
import type { EngineAddress } from './pool.ts'
import { fromWholeIf, toMember, toWhole, toWholeIf } from './wire-values.ts'

// What a node says and hears, between this program's own types and those of the wire.

const DEVICE_KINDS = ['cuda', 'rocm', 'metal', 'cpu'] as const
const HEALTHS = ['ok', 'hot', 'lost'] as const
const LOCAL_ENGINES = ['llama-server', 'vllm', 'sglang'] as const
const GONE_REASONS = ['crashed', 'failed', 'killed', 'stopped'] as const
const EXIT_REASONS = ['crashed', 'killed'] as const

export function toDeviceMessage(report: DeviceReport): DeviceReportMessage {
  const { totalBytes, foreignBytes, usedBytes, ...rest } = report
  return create(DeviceReportSchema, {
    ...rest,
    totalBytes: toWhole(totalBytes),
    foreignBytes: toWhole(foreignBytes),
    usedBytes: toWholeIf(usedBytes),
  })
}

export function fromDeviceMessage(message: DeviceReportMessage): DeviceReport {
  return {
    id: message.id,
    kind: toMember(DEVICE_KINDS, message.kind),
    name: message.name,
    totalBytes: Number(message.totalBytes),
    foreignBytes: Number(message.foreignBytes),
    usedBytes: fromWholeIf(message.usedBytes),
    health: toMember(HEALTHS, message.health),
    reason: message.reason,
    clique: message.clique,
    utilization: message.utilization,
    temperatureCelsius: message.temperatureCelsius,
    powerWatts: message.powerWatts,
  }
}

export function toModelFileMessage(file: ModelFile): ModelFileMessage {
  const { sizeBytes, trainedContextLength, ...rest } = file
  return create(ModelFileSchema, {
    ...rest,
    sizeBytes: toWhole(sizeBytes),
    trainedContextLength: toWholeIf(trainedContextLength),
  })
}

export function fromModelFileMessage(message: ModelFileMessage): ModelFile {
  return {
    name: message.name,
    sizeBytes: Number(message.sizeBytes),
    sha256: message.sha256,
    revision: message.revision,
    source: message.source,
    addedAtMs: message.addedAtMs,
    architecture: message.architecture,
    quantization: message.quantization,
    trainedContextLength: fromWholeIf(message.trainedContextLength),
    cached: message.cached,
    quarantinedBecause: message.quarantinedBecause,
    invalidBecause: message.invalidBecause,
    engine: toMember(LOCAL_ENGINES, message.engine),
  }
}

export function toShapeMessage({ slots, contextLength, ...rest }: InstanceShape): InstanceShapeMessage {
  return create(InstanceShapeSchema, {
    ...rest,
    slots: toWhole(slots),
    contextLength: toWhole(contextLength),
  })
}

/** @throws HelixError `invalid_value` when it is not given */
export function fromShapeMessage(message: InstanceShapeMessage | undefined): InstanceShape {
  const { slots, contextLength, chatTemplate, engine } = given(message, 'shape')
  return {
    slots: Number(slots),
    contextLength: Number(contextLength),
    chatTemplate,
    engine: engine === undefined ? undefined : toMember(LOCAL_ENGINES, engine),
  }
}

export function toStartMessage({ instanceId, model, shape, shares }: StartRequest): StartEngineRequest {
  return create(StartEngineRequestSchema, {
    instanceId,
    model,
    shape: toShapeMessage(shape),
    shares: shares.map(toShareMessage),
  })
}

/** @throws HelixError `invalid_value` */
export function fromStartMessage({ instanceId, model, shape, shares }: StartEngineRequest): StartRequest {
  return { instanceId, model, shape: fromShapeMessage(shape), shares: shares.map(fromShareMessage) }
}

export function toOutcomeMessage(outcome: StartOutcome): StartEngineResponse {
  if (outcome.kind === 'ready') {
    return create(StartEngineResponseSchema, {
      outcome: { case: 'ready', value: toEngineMessage(outcome.engine) },
    })
  }
  const { code, publicMessage: message } = outcome.error
  return create(StartEngineResponseSchema, {
    outcome: { case: 'gone', value: { why: outcome.why, code, message } },
  })
}

/** @throws HelixError `invalid_value` */
export function fromOutcomeMessage({ outcome }: StartEngineResponse): StartOutcome {
  if (outcome.case === 'ready') return { kind: 'ready', engine: fromEngineMessage(outcome.value) }
  const { why, code, message } = given(outcome.value, 'outcome')
  const error = new HelixError(toMember(ERROR_CODES, code), message)
  return { kind: 'gone', why: toMember(GONE_REASONS, why), error }
}

export function toRunningMessage({ request, engine }: RunningEngineView): RunningEngine {
  return create(RunningEngineSchema, { request: toStartMessage(request), engine: toEngineMessage(engine) })
}

/** @throws HelixError `invalid_value` */
export function fromRunningMessage({ request, engine }: RunningEngine): RunningEngineView {
  return { request: fromStartMessage(given(request, 'request')), engine: fromEngineMessage(engine) }
}

export function toExitMessage(exit: EngineExit): EngineExitMessage {
  return create(EngineExitSchema, exit)
}

/** @throws HelixError `invalid_value` */
export function fromExitMessage({ instanceId, why, description }: EngineExitMessage): EngineExit {
  return { instanceId, why: toMember(EXIT_REASONS, why), description }
}

export function toAddressMessage(address: EngineAddress): EngineAddressMessage {
  return create(EngineAddressSchema, address)
}

/** @throws HelixError `invalid_value` when it is not given */
export function fromAddressMessage(message: EngineAddressMessage | undefined): EngineAddress {
  const { url, socketPath, apiKey, serverName } = given(message, 'address')
  return { url, socketPath, apiKey, serverName }
}

function toEngineMessage(engine: StartedEngine): StartedEngineMessage {
  const { address, shares, contextLength, vocabularySize, ...rest } = engine
  return create(StartedEngineSchema, {
    ...rest,
    address: toAddressMessage(address),
    contextLength: toWhole(contextLength),
    vocabularySize: toWholeIf(vocabularySize),
    ...(shares && { shares: { shares: shares.map(toShareMessage) } }),
  })
}

function fromEngineMessage(message: StartedEngineMessage | undefined): StartedEngine {
  const { engine, address, shares, contextLength, supportsTools, vocabularySize, revision } = given(
    message,
    'engine',
  )
  return {
    engine: toMember(LOCAL_ENGINES, engine),
    address: fromAddressMessage(address),
    shares: shares?.shares.map(fromShareMessage),
    contextLength: Number(contextLength),
    supportsTools,
    vocabularySize: fromWholeIf(vocabularySize),
    revision,
  }
}

function toShareMessage({ deviceId, bytes }: DeviceShare): DeviceShareMessage {
  return create(DeviceShareSchema, { deviceId, bytes: toWhole(bytes) })
}

function fromShareMessage({ deviceId, bytes }: DeviceShareMessage): DeviceShare {
  return { deviceId, bytes: Number(bytes) }
}

function given<Part>(part: Part | undefined, name: string): Part {
  if (part !== undefined) return part
  throw new HelixError('invalid_value', `The message has no ${name}.`)
}
