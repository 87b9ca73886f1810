/** Keeps cookies for each origin, and follows redirects one by one. */
export class Browser {
  private readonly cookies = new Map<string, Map<string, string>>()

  async send(url: string, init: RequestInit = {}): Promise<Response> {
    const { origin } = new URL(url)
    const jar = this.cookies.get(origin) ?? new Map<string, string>()
    this.cookies.set(origin, jar)
    const headers = new Headers(init.headers)
    const cookie = [...jar].map(([name, value]) => `${name}=${value}`).join('; ')
    if (cookie) headers.set('cookie', cookie)
    const response = await fetch(url, { ...init, headers, redirect: 'manual' })
    for (const line of response.headers.getSetCookie()) {
      const [, name = '', value = ''] = /^([^=]+)=([^;]*)/.exec(line) ?? []
      if (value === '') jar.delete(name)
      else jar.set(name, value)
    }
    return response
  }

  /** Goes on until an address begins with `end`, which is not asked for. */
  async follow(url: string, end: string): Promise<string> {
    let next = url
    for (let step = 0; step < 20; step++) {
      if (next.startsWith(end)) return next
      const response = await this.send(next)
      const location = response.headers.get('location')
      if (location === null)
        throw new Error(`${response.status} instead of a redirect: ${await response.text()}`)
      next = new URL(location, next).href
    }
    throw new Error('too many redirects')
  }

  cookie(origin: string, name: string): string | undefined {
    return this.cookies.get(origin)?.get(name)
  }
}
