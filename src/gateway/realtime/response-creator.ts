import type { ResponseRuns } from '../responses/response-runs.ts'
import type { CreateCall, Creator } from './creator.ts'
import { socketResponseRequest } from './response-request.ts'

export const RESPONSE_ROUTE = '/ws response.create'

/** `response.create` on `/ws`: a response whose events are those of its API. */
export function responseCreator(responses: ResponseRuns): Creator {
  return { prefix: 'resp', create: (call) => createResponse(responses, call) }
}

async function createResponse(responses: ResponseRuns, call: CreateCall) {
  const request = socketResponseRequest(call.request)
  call.note({ model: request.model, user: request.user ?? request.safety_identifier ?? undefined })
  const { stream } = await responses.start({
    id: call.streamId,
    request,
    detachMs: call.detachMs,
    requestId: call.requestId,
    identity: call.identity,
    credential: call.credential,
    route: RESPONSE_ROUTE,
    headers: {},
    startedMs: call.startedMs,
    span: call.span,
    client: call.client,
  })
  return { stream: stream.writer.stream, ended: stream.ended }
}
