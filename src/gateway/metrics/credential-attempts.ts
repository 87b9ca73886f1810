import { HelixError } from '../../core/errors.ts'
import type { Metrics } from '../../core/metrics.ts'

/** How somebody said who they are. */
export type CredentialMethod = 'api_key' | 'token' | 'login' | 'refresh' | 'oidc'

/** Counts credentials that were presented, by kind and by what came of it: `accepted`, or the code of the refusal. */
export class CredentialAttempts {
  constructor(private readonly metrics: Metrics) {}

  /** @param credential as it stood in the request */
  presented(credential: string, error?: HelixError): void {
    this.count(methodOf(credential), error)
  }

  /** Counts the outcome of a grant, and hands it on. */
  async grant<Granted>(method: CredentialMethod, granting: Promise<Granted>): Promise<Granted> {
    try {
      const granted = await granting
      this.count(method, undefined)
      return granted
    } catch (reason) {
      this.count(method, HelixError.from(reason))
      throw reason
    }
  }

  private count(method: CredentialMethod, error: HelixError | undefined): void {
    this.metrics.add('helixflow_auth_attempts_total', { method, outcome: error?.code ?? 'accepted' })
  }
}

/** A JWT begins with a brace, in base64; what is neither is taken for a key that is none. */
function methodOf(credential: string): CredentialMethod {
  return credential.startsWith('eyJ') ? 'token' : 'api_key'
}
