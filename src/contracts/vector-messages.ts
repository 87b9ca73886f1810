import type {
  DescribeVectorStoreResponse,
  FindNearVectorsRequest,
  KeepVectorRequest,
  VectorPlace as VectorPlaceMessage,
} from './gen/helixflow/v1/auth_pb.ts'
import type { KeptVector, VectorPlace, VectorQuery, VectorSupport } from './vector-store.ts'

// Vectors, between this program's own types and those of the wire.

/** More than any model makes, and as many as pgvector keeps. */
const DIMENSIONS_MAX = 16_000
const NEAR_MAX = 64

export function toSupportMessage(support: VectorSupport): object {
  return 'with' in support
    ? { support: { case: 'with', value: support.with } }
    : { support: { case: 'without', value: support.without } }
}

/** A service that does not say has none. */
export function fromSupportMessage({ support }: DescribeVectorStoreResponse): VectorSupport {
  if (support.case === 'with') return { with: support.value }
  return { without: support.value ?? 'the auth service does not say whether it keeps vectors' }
}

/** Undefined when it does not say what is looked for, and among what. */
export function fromFindRequest(request: FindNearVectorsRequest): VectorQuery | undefined {
  const place = fromPlaceMessage(request.place)
  const direction = fromDirection(request.direction)
  const { threshold, limit } = request
  if (!place || !direction || Number.isNaN(threshold) || limit < 1 || limit > NEAR_MAX) return undefined
  return { ...place, direction, threshold, limit }
}

/** Undefined when it does not say what is to be kept, and where. */
export function fromKeepRequest(request: KeepVectorRequest): KeptVector | undefined {
  const place = fromPlaceMessage(request.place)
  const direction = fromDirection(request.direction)
  const keepMs = Number(request.keepMs)
  if (!place || !direction || request.key === '' || keepMs < 1) return undefined
  return { ...place, key: request.key, direction, keepMs }
}

export function fromPlaceMessage(message: VectorPlaceMessage | undefined): VectorPlace | undefined {
  if (!message || message.organisationId === '' || message.partition === '') return undefined
  return { organisationId: message.organisationId, partition: message.partition }
}

function fromDirection(numbers: readonly number[]): Float32Array | undefined {
  const isUsable = numbers.length > 0 && numbers.length <= DIMENSIONS_MAX && numbers.every(Number.isFinite)
  return isUsable ? Float32Array.from(numbers) : undefined
}
