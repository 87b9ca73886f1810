import { X509Certificate } from 'node:crypto'
import { readFileSync } from 'node:fs'
import type { Metrics } from '../core/metrics.ts'

const PEM = /-----BEGIN CERTIFICATE-----[\s\S]+?-----END CERTIFICATE-----/g

/**
 * Tells when certificates end, of several in one file the first to. Once, at the start, as the connections of this process
 * read them: a file that was renewed since helps nobody before a restart, and must not hide that one is due.
 * @param files by the setting that names them
 */
export function tellCertificates(metrics: Metrics, files: Readonly<Record<string, string>>): void {
  for (const [certificate, path] of Object.entries(files)) {
    const expiry = expirySeconds(path)
    if (expiry === undefined) continue
    metrics.set('helixflow_certificate_expiry_timestamp_seconds', { certificate }, expiry)
  }
}

/** Undefined where the file holds none: whoever needs it refuses to start, and says why. */
function expirySeconds(path: string): number | undefined {
  try {
    const ends = (readFileSync(path, 'utf8').match(PEM) ?? []).map(
      (pem) => Date.parse(new X509Certificate(pem).validTo) / 1_000,
    )
    return ends.length > 0 ? Math.min(...ends) : undefined
  } catch {
    return undefined
  }
}
