import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, onTestFinished, test } from 'vitest'
import { helixflow } from '../../support/helixflow.ts'

const trace = join(import.meta.dirname, '../../traces/azure-code.csv')

function temporaryHome(): string {
  const home = mkdtempSync(join(tmpdir(), 'helixflow-simulate-'))
  onTestFinished(() => rmSync(home, { recursive: true, force: true }))
  return home
}

test('a trace is replayed on a described cluster, as JSON and as a picture, the same each time', async () => {
  const home = temporaryHome()
  const [cluster, plot] = [join(home, 'cluster.yaml'), join(home, 'out.svg')]
  writeFileSync(
    cluster,
    'nodes: [{name: a, devices: 1x40GiB}]\nmodels: [{name: small, memory: 10GiB}, {name: large, memory: 38GiB}]\n',
  )
  const words = ['simulate', trace, '--requests', '200', '--cluster', cluster, '--seed', '3']
  const first = await helixflow({ home }, ...words, '--json', '--plot', plot)
  expect(first).toMatchObject({ code: 0, err: '' })
  const report = JSON.parse(first.out)
  expect(report.trace).toMatchObject({ format: 'azure' })
  expect(report.trace.synthetic).toEqual(['which request asks for which model (Zipf 1)'])
  const { all, served, refused, cancelled, failed } = report.requests
  expect([all, served + refused + cancelled + failed]).toEqual([200, 200])
  // They do not fit beside each other.
  expect(report.loads.count).toBeGreaterThan(2)
  expect(readFileSync(plot, 'utf8')).toMatch(/^<svg [\s\S]*small-[\s\S]*<\/svg>\n$/)
  const second = await helixflow({ home }, ...words, '--json')
  expect(second.out).toBe(first.out)
  const text = await helixflow({ home }, ...words)
  expect(text.out).toContain(`cold starts  ${report.coldStarts.visible}`)
})

test.each([
  [['simulate', 'none.csv'], 1, /There is no trace none\.csv/],
  [['simulate', 'synthetic:', '--speed', 'fast'], 2, /--speed 'fast' is not a number/],
  [['simulate', 'synthetic:', '--devices', '4'], 2, /are no devices; write for example 4x80GiB/],
  [['simulate', 'synthetic:', '--strategy', 'luck'], 1, /scheduler\.strategy/],
  [['simulate', 'synthetic:', '--popularity', 'trace'], 1, /names no model/],
])('%j is refused with the reason', async (words, code, reason) => {
  const answer = await helixflow({ home: temporaryHome() }, ...words)
  expect(answer).toMatchObject({ code, out: '', err: expect.stringMatching(reason) })
})
