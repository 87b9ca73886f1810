import type { CallOptions, Client } from '@connectrpc/connect'
import type { AuthService } from './gen/helixflow/v1/auth_pb.ts'
import { fromChainMessage, fromKeptMessage, toSaveResponseRequest } from './responses-messages.ts'
import type {
  FoundResponse,
  ResponseChain,
  ResponseKey,
  ResponsesStore,
  SavedResponse,
} from './responses-store.ts'

/** How a call is made: with its deadline, and its failure in the platform's own words. */
export type Call = <Answer>(ask: (options: CallOptions) => Promise<Answer>) => Promise<Answer>

/** Responses that are kept behind the auth service, wherever it runs. */
export class ResponsesRpcClient implements ResponsesStore {
  constructor(
    private readonly client: Client<typeof AuthService>,
    private readonly call: Call,
  ) {}

  async insert(response: SavedResponse): Promise<void> {
    await this.call((options) => this.client.saveResponse(toSaveResponseRequest(response, false), options))
  }

  async update(response: SavedResponse): Promise<boolean> {
    const { saved } = await this.call((options) =>
      this.client.saveResponse(toSaveResponseRequest(response, true), options),
    )
    return saved
  }

  async find(key: ResponseKey): Promise<FoundResponse | undefined> {
    const { response, abandoned } = await this.call((options) => this.client.readResponse({ key }, options))
    const kept = response && fromKeptMessage(response)
    return kept && { ...kept, abandoned }
  }

  async chain(key: ResponseKey): Promise<ResponseChain> {
    return fromChainMessage(await this.call((options) => this.client.readResponseChain({ key }, options)))
  }

  async remove(key: ResponseKey): Promise<boolean> {
    const { deleted } = await this.call((options) => this.client.deleteResponse({ key }, options))
    return deleted
  }

  async renew(ids: readonly string[], leaseMs: number): Promise<void> {
    const request = { ids: [...ids], leaseMs: BigInt(leaseMs) }
    await this.call((options) => this.client.renewResponses(request, options))
  }
}
