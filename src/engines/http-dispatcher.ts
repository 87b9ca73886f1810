import { type Dispatcher, EnvHttpProxyAgent } from 'undici'

/** What HTTP_PROXY, HTTPS_PROXY and NO_PROXY say. */
export interface ProxySettings {
  readonly httpProxy: string | undefined
  readonly httpsProxy: string | undefined
  readonly noProxy: string | undefined
}

export interface DispatcherOptions {
  readonly proxy: ProxySettings
  /** PEM certificates to trust instead of those that Node trusts. */
  readonly certificateAuthorities?: string | undefined
  /** Covers the look-up of the name as well: a machine without internet must learn so soon. */
  readonly connectTimeoutMs?: number
}

/** Connections for a few requests to the outside. The caller destroys it. */
export function createDispatcher(options: DispatcherOptions): Dispatcher {
  const { proxy, certificateAuthorities: ca, connectTimeoutMs: timeout = 5_000 } = options
  const tls = ca === undefined ? { timeout } : { timeout, ca }
  return new EnvHttpProxyAgent({
    // Empty and not absent: undici would look into the environment by itself.
    httpProxy: proxy.httpProxy ?? '',
    httpsProxy: proxy.httpsProxy ?? '',
    noProxy: proxy.noProxy ?? '',
    connect: tls,
    requestTls: tls,
    proxyTls: tls,
  })
}

/** Does `work` with such connections and closes them afterwards, whatever becomes of it. */
export async function withDispatcher<T>(
  options: DispatcherOptions,
  work: (dispatcher: Dispatcher) => Promise<T>,
): Promise<T> {
  const dispatcher = createDispatcher(options)
  try {
    return await work(dispatcher)
  } finally {
    await dispatcher.destroy()
  }
}
