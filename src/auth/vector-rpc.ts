import type { ServiceImpl } from '@connectrpc/connect'
import type { AuthService } from '../contracts/gen/helixflow/v1/auth_pb.ts'
import {
  fromFindRequest,
  fromKeepRequest,
  fromPlaceMessage,
  toSupportMessage,
} from '../contracts/vector-messages.ts'
import type { VectorStore } from '../contracts/vector-store.ts'
import { HelixError } from '../core/errors.ts'
import type { Telling } from './responses-rpc.ts'

type Methods = Pick<
  ServiceImpl<typeof AuthService>,
  'describeVectorStore' | 'findNearVectors' | 'keepVector' | 'forgetVectors'
>

/** The part of the service that keeps vectors. */
export function vectorMethods(vectors: VectorStore, told: Telling): Methods {
  return {
    describeVectorStore: () => told(async () => toSupportMessage(await vectors.support())),
    findNearVectors: (request) =>
      told(async () => {
        const near = await vectors.nearest(known(fromFindRequest(request)))
        return { vectors: near.map((one) => ({ ...one })) }
      }),
    keepVector: (request) =>
      told(async () => {
        await vectors.add(known(fromKeepRequest(request)))
        return {}
      }),
    forgetVectors: ({ place, keys }) =>
      told(async () => {
        await vectors.remove(known(fromPlaceMessage(place)), keys)
        return {}
      }),
  }
}

function known<Request>(request: Request | undefined): Request {
  if (request) return request
  throw new HelixError('invalid_value', 'The request does not say which vector it is about.')
}
