import type { Client } from '@connectrpc/connect'
import type { AuthService } from './gen/helixflow/v1/auth_pb.ts'
import type { Call } from './responses-rpc-client.ts'
import { fromSupportMessage } from './vector-messages.ts'
import type {
  KeptVector,
  NearVector,
  VectorPlace,
  VectorQuery,
  VectorStore,
  VectorSupport,
} from './vector-store.ts'

/** Vectors that are kept behind the auth service, wherever it runs. */
export class VectorRpcClient implements VectorStore {
  constructor(
    private readonly client: Client<typeof AuthService>,
    private readonly call: Call,
  ) {}

  async support(): Promise<VectorSupport> {
    return fromSupportMessage(await this.call((options) => this.client.describeVectorStore({}, options)))
  }

  async nearest(query: VectorQuery): Promise<readonly NearVector[]> {
    const { organisationId, partition, direction, threshold, limit } = query
    const request = { place: { organisationId, partition }, direction: [...direction], threshold, limit }
    const { vectors } = await this.call((options) => this.client.findNearVectors(request, options))
    return vectors.map(({ key, similarity }) => ({ key, similarity }))
  }

  async add({ organisationId, partition, key, direction, keepMs }: KeptVector): Promise<void> {
    const place = { organisationId, partition }
    const request = { place, key, direction: [...direction], keepMs: BigInt(Math.floor(keepMs)) }
    await this.call((options) => this.client.keepVector(request, options))
  }

  async remove({ organisationId, partition }: VectorPlace, keys: readonly string[]): Promise<void> {
    const request = { place: { organisationId, partition }, keys: [...keys] }
    await this.call((options) => this.client.forgetVectors(request, options))
  }
}
