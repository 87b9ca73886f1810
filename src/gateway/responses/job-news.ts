import type { Identity } from '../../contracts/auth.ts'
import type { Topics } from '../../streams/topics.ts'
import type { ResponseObject } from './response-object.ts'

/** Whose topic it is. */
type JobPlace = Pick<Identity, 'organisationId' | 'projectId'>

/** What the topic `jobs` of a project says of a response in the background. */
export class JobNews {
  constructor(private readonly topics: Topics) {}

  tell({ organisationId, projectId }: JobPlace, { id, status, model, created_at }: ResponseObject): void {
    const data = JSON.stringify({ id, object: 'response', status, model, created_at })
    // A gateway that goes on with another's says some of it once more.
    const publication = { data, kind: 'log', key: `${id}/${status}` } as const
    // Where it cannot be told now, the response itself says it to whoever asks.
    void this.topics.publish(`${organisationId}/${projectId}`, 'jobs', publication).catch(() => {})
  }
}
