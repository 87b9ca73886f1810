import { create } from '@bufbuild/protobuf'
import {
  type KeptResponse as KeptResponseMessage,
  KeptResponseSchema,
  type ReadResponseChainResponse,
  type ResponseKey as ResponseKeyMessage,
  type SaveResponseRequest,
  SaveResponseRequestSchema,
} from './gen/helixflow/v1/auth_pb.ts'
import {
  type KeptResponse,
  RESPONSE_STATUSES,
  type ResponseChain,
  type ResponseKey,
  type ResponseStatus,
  type SavedResponse,
} from './responses-store.ts'

// Responses that are kept, between this program's own types and those of the wire.

export function toSaveResponseRequest(response: SavedResponse, update: boolean): SaveResponseRequest {
  const { leaseMs } = response
  return create(SaveResponseRequestSchema, {
    response: toKeptMessage(response),
    update,
    ...(leaseMs === undefined ? {} : { leaseMs: BigInt(leaseMs) }),
  })
}

/** Undefined when it does not say what is to be saved. */
export function fromSaveResponseRequest({
  response,
  leaseMs,
}: SaveResponseRequest): SavedResponse | undefined {
  const kept = response && fromKeptMessage(response)
  return kept && { ...kept, leaseMs: leaseMs === undefined ? undefined : Number(leaseMs) }
}

export function toKeptMessage(response: KeptResponse): KeptResponseMessage {
  const { organisationId, projectId, id, previousId } = response
  return create(KeptResponseSchema, {
    key: { organisationId, projectId, id },
    actor: response.actor,
    status: response.status,
    model: response.model,
    background: response.background,
    createdAtMs: BigInt(Math.round(response.createdAtMs)),
    input: response.input,
    output: response.output,
    response: response.response,
    ...(previousId === undefined ? {} : { previousId }),
  })
}

/** Undefined for one of a newer program, in a state that this one does not know. */
export function fromKeptMessage(message: KeptResponseMessage): KeptResponse | undefined {
  const key = fromKeyMessage(message.key)
  const status = knownStatus(message.status)
  if (!key || !status) return undefined
  const { actor, previousId, model, background, createdAtMs, input, output, response } = message
  const texts = { input, output, response }
  return { ...key, actor, previousId, status, model, background, createdAtMs: Number(createdAtMs), ...texts }
}

export function fromKeyMessage(message: ResponseKeyMessage | undefined): ResponseKey | undefined {
  if (!message) return undefined
  const { organisationId, projectId, id } = message
  return { organisationId, projectId, id }
}

const EXTENTS: readonly ResponseChain['extent'][] = ['whole', 'broken', 'long']

/** What this program does not know is as good as not there. */
export function fromChainMessage({ links, extent }: ReadResponseChainResponse): ResponseChain {
  const known = links.flatMap(({ id, status, input, output }) => {
    const knownAs = knownStatus(status)
    return knownAs ? [{ id, status: knownAs, input, output }] : []
  })
  const whole = EXTENTS.find((one) => one === extent)
  return { links: known, extent: whole && known.length === links.length ? whole : 'broken' }
}

function knownStatus(name: string): ResponseStatus | undefined {
  return RESPONSE_STATUSES.find((one) => one === name)
}
