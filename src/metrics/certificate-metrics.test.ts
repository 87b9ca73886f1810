import { appendFileSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { expect, onTestFinished, test } from 'vitest'
import { makeCertificates } from '../../test/support/certificates.ts'
import { MetricValues } from '../../test/support/metric-values.ts'
import { tellCertificates } from './certificate-metrics.ts'

test('of several certificates in a file the first to end is told, of a file without one nothing', async () => {
  const { authority, certificate, key } = await makeCertificates()
  onTestFinished(() => rmSync(dirname(authority), { recursive: true }))
  const bundle = join(dirname(authority), 'bundle.pem')
  writeFileSync(bundle, `# ours\n${readFileSync(authority, 'utf8')}`)
  appendFileSync(bundle, readFileSync(certificate))
  const metrics = new MetricValues()
  tellCertificates(metrics, { certificate, bundle, key, missing: '/nowhere.pem' })
  const expiry = (name: string) =>
    metrics.value('helixflow_certificate_expiry_timestamp_seconds', { certificate: name })
  const sixtyDays = Date.now() / 1_000 + 60 * 86_400
  expect(Math.abs((expiry('certificate') ?? 0) - sixtyDays)).toBeLessThan(3_700)
  expect(expiry('bundle')).toBeLessThanOrEqual(expiry('certificate') ?? 0)
  expect(metrics.values('helixflow_certificate_expiry_timestamp_seconds', 'certificate')).toEqual([
    'certificate',
    'bundle',
  ])
})
