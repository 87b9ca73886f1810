import { mkdtempSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createCA, createCert } from 'mkcert'
import type { TlsFiles } from '../../src/contracts/rpc-transport.ts'

/** For longer than anybody is warned. */
const VALID_DAYS = 60
const NAMES = {
  organization: 'HelixFlow tests',
  countryCode: 'DE',
  state: '-',
  locality: '-',
  validity: VALID_DAYS,
}

/** A new authority and one certificate of it for this machine, as PEM files in a folder of their own. */
export async function makeCertificates(): Promise<TlsFiles> {
  const directory = mkdtempSync(join(tmpdir(), 'helixflow-tls-'))
  const ca = await createCA(NAMES)
  const { cert, key } = await createCert({ ca, domains: ['127.0.0.1', 'localhost'], validity: VALID_DAYS })
  const write = (name: string, text: string) => {
    const path = join(directory, name)
    writeFileSync(path, text, { mode: 0o600 })
    return path
  }
  return {
    authority: write('authority.pem', ca.cert),
    certificate: write('certificate.pem', cert),
    key: write('key.pem', key),
  }
}
