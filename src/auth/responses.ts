import type {
  FoundResponse,
  ResponseChain,
  ResponseKey,
  ResponsesStore,
  SavedResponse,
} from '../contracts/responses-store.ts'
import type { Clock } from '../core/clock.ts'
import type { Database } from '../storage/database.ts'
import {
  findResponse,
  insertResponse,
  removeResponse,
  renewResponses,
  responseChain,
  updateResponse,
} from '../storage/responses.ts'
import { acrossOrganisations, inOrganisation } from '../storage/tenancy.ts'

export interface ResponsesServiceOptions {
  readonly database: Database
  readonly clock: Clock
  readonly retentionMs: number
}

/** Responses that are kept, in the database itself and never a replica: they are asked for right after they were made. */
export class ResponsesService implements ResponsesStore {
  constructor(private readonly options: ResponsesServiceOptions) {}

  insert(response: SavedResponse): Promise<void> {
    const { database, clock, retentionMs: keepMs } = this.options
    const nowMs = clock.now()
    return inOrganisation(database, response.organisationId, (queries) =>
      insertResponse(queries, response, { nowMs, keepMs }),
    )
  }

  update(response: SavedResponse): Promise<boolean> {
    const { database, clock } = this.options
    const nowMs = clock.now()
    return inOrganisation(database, response.organisationId, (queries) =>
      updateResponse(queries, response, nowMs),
    )
  }

  find(key: ResponseKey): Promise<FoundResponse | undefined> {
    const { database, clock } = this.options
    const nowMs = clock.now()
    return inOrganisation(database, key.organisationId, (queries) => findResponse(queries, key, nowMs))
  }

  chain(key: ResponseKey): Promise<ResponseChain> {
    const { database, clock } = this.options
    const nowMs = clock.now()
    return inOrganisation(database, key.organisationId, (queries) => responseChain(queries, key, nowMs))
  }

  remove(key: ResponseKey): Promise<boolean> {
    const { database } = this.options
    return inOrganisation(database, key.organisationId, (queries) => removeResponse(queries, key))
  }

  async renew(ids: readonly string[], leaseMs: number): Promise<void> {
    if (ids.length === 0) return
    const { database, clock } = this.options
    const untilMs = clock.now() + leaseMs
    await acrossOrganisations(database, (queries) => renewResponses(queries, { ids, untilMs }))
  }
}
