import { existsSync } from 'node:fs'
import { Client } from 'undici'
import type { Operation } from '../contracts/administration/operation.ts'
import { ORGANISATION_HEADER } from '../contracts/auth.ts'
import { type ErrorBody, HelixError } from '../core/errors.ts'

/** Asks the running server of this installation, over its control socket. */
export class ControlClient {
  constructor(private readonly socketPath: string) {}

  get isRunning(): boolean {
    return existsSync(this.socketPath)
  }

  get<T>(path: string, organisation?: string): Promise<T> {
    return this.send('GET', path, undefined, organisationHeader(organisation))
  }

  post<T>(path: string, body: object = {}, organisation?: string): Promise<T> {
    return this.send('POST', path, body, organisationHeader(organisation))
  }

  delete<T>(path: string): Promise<T> {
    return this.send('DELETE', path)
  }

  /** An operation of the administration table, in an organisation or the default one. */
  administer(
    { method, path }: Operation,
    input: Readonly<Record<string, unknown>>,
    organisation?: string,
  ): Promise<Readonly<Record<string, unknown>>> {
    const rest = { ...input }
    const address = path.replaceAll(/\{(\w+)\}/g, (_, field: string) => {
      const value = encodeURIComponent(String(rest[field]))
      delete rest[field]
      return value
    })
    const inQuery = method === 'GET' || method === 'DELETE'
    const query = inQuery
      ? new URLSearchParams(
          Object.fromEntries(Object.entries(rest).map(([field, value]) => [field, String(value)])),
        )
      : ''
    return this.send(
      method,
      `/admin/v1${address}${query ? `?${query}` : ''}`,
      inQuery ? undefined : rest,
      organisationHeader(organisation),
    )
  }

  /** @throws HelixError `not_running`, or what the server answered */
  private async send<T>(
    method: Operation['method'],
    path: string,
    body?: object,
    headers: Readonly<Record<string, string>> = {},
  ): Promise<T> {
    const client = new Client('http://localhost', {
      socketPath: this.socketPath,
      headersTimeout: 0,
      bodyTimeout: 0,
    })
    try {
      const answer = await client.request({
        method,
        path,
        ...(body === undefined
          ? { headers }
          : { headers: { ...headers, 'content-type': 'application/json' }, body: JSON.stringify(body) }),
      })
      const value = await answer.body.json()
      if (answer.statusCode < 400) return value as T
      const { error } = value as ErrorBody
      throw new HelixError(error.code, error.message, { param: error.param ?? undefined })
    } catch (reason) {
      if (reason instanceof HelixError) throw reason
      throw new HelixError('not_running', "HelixFlow is not running here. Start it with 'helixflow up'.", {
        cause: reason,
      })
    } finally {
      await client.close()
    }
  }
}

function organisationHeader(organisation: string | undefined): Readonly<Record<string, string>> {
  return organisation === undefined ? {} : { [ORGANISATION_HEADER]: organisation }
}
