/** Scheme, host and perhaps a port, and nothing else: a page that has more than that in its origin is none. */
const ORIGIN = /^https?:\/\/[^/?#@\\\s,]+$/i

/**
 * Whether the page that a browser speaks for may open a socket. A program that is no browser sends no origin. Compared
 * as browsers do: scheme and host in small letters, without the scheme's own port.
 */
export function isOriginAllowed(origin: string | undefined, allowed: ReadonlySet<string>): boolean {
  if (origin === undefined) return true
  return ORIGIN.test(origin) && URL.canParse(origin) && allowed.has(new URL(origin).origin)
}

/** The origins of the settings, as `isOriginAllowed` compares them. */
export function originSet(origins: readonly string[]): ReadonlySet<string> {
  return new Set(origins.map((one) => new URL(one).origin))
}
