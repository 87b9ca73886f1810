import type { ServiceImpl } from '@connectrpc/connect'
import type { AuthService } from '../contracts/gen/helixflow/v1/auth_pb.ts'
import { fromKeyMessage, fromSaveResponseRequest, toKeptMessage } from '../contracts/responses-messages.ts'
import type { ResponseKey, ResponsesStore } from '../contracts/responses-store.ts'
import { HelixError } from '../core/errors.ts'

/** Does the work of a method, and tells of its failure in the platform's own words. */
export type Telling = <Answer>(work: () => Promise<Answer>) => Promise<Answer>

type Methods = Pick<
  ServiceImpl<typeof AuthService>,
  'saveResponse' | 'readResponse' | 'readResponseChain' | 'deleteResponse' | 'renewResponses'
>

/** The part of the service that keeps responses. */
export function responsesMethods(responses: ResponsesStore, told: Telling): Methods {
  return {
    saveResponse: (request) =>
      told(async () => {
        const response = fromSaveResponseRequest(request)
        if (!response) throw new HelixError('invalid_value', 'The request holds no response.')
        if (request.update) return { saved: await responses.update(response) }
        await responses.insert(response)
        return { saved: true }
      }),
    readResponse: ({ key }) =>
      told(async () => {
        const found = await responses.find(known(fromKeyMessage(key)))
        return found ? { response: toKeptMessage(found), abandoned: found.abandoned } : {}
      }),
    readResponseChain: ({ key }) =>
      told(async () => {
        const { links, extent } = await responses.chain(known(fromKeyMessage(key)))
        return { links: links.map((link) => ({ ...link })), extent }
      }),
    deleteResponse: ({ key }) =>
      told(async () => ({ deleted: await responses.remove(known(fromKeyMessage(key))) })),
    renewResponses: ({ ids, leaseMs }) =>
      told(async () => {
        await responses.renew(ids, Number(leaseMs))
        return {}
      }),
  }
}

function known(key: ResponseKey | undefined): ResponseKey {
  if (key) return key
  throw new HelixError('invalid_value', 'The request does not say which response it is about.')
}
