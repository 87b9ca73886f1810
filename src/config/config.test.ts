import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { parse } from 'yaml'
import { HelixError } from '../core/errors.ts'
import { exampleConfig } from './document.ts'
import { loadSettings } from './load.ts'
import { parseConfig } from './schema.ts'

let directory: string
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'helixflow-config-'))
})
afterEach(() => rmSync(directory, { recursive: true }))

function mistakesOf(act: () => unknown): string {
  try {
    act()
  } catch (error) {
    expect(error).toBeInstanceOf(HelixError)
    return (error as HelixError).publicMessage
  }
  return expect.unreachable('the configuration was accepted')
}

describe('the schema', () => {
  test('reports every mistake at once, each with its path', () => {
    const message = mistakesOf(() =>
      parseConfig({ gateway: { prot: 1, bodyLimit: '8 elephants', queueMax: -1 }, engine: {} }),
    )
    expect(message).toMatch(/gateway: .*prot/)
    expect(message).toContain("gateway.bodyLimit: '8 elephants' is not a size")
    expect(message).toContain('gateway.queueMax')
    expect(message).toMatch(/top level.*engine/)
  })

  test('an identity provider is spoken to in the clear on this very machine alone', () => {
    const withIssuer = (issuer: string) => () =>
      parseConfig({ auth: { oidc: { issuer, clientId: 'c', clientSecret: 's', roles: {} } } })
    for (const issuer of [
      'https://id.example',
      'http://127.0.0.1:9',
      'http://localhost:9/realm',
      'http://[::1]:9',
    ])
      expect(withIssuer(issuer)().auth.oidc).toMatchObject({ issuer, organisation: 'org_default' })
    for (const issuer of [
      'http://id.example',
      'http://127.0.0.1.evil.example',
      'http://localhost.evil.example',
      'http://127.0.0.1@evil.example',
      'ftp://127.0.0.1',
      'id.example',
    ])
      expect(mistakesOf(withIssuer(issuer)), issuer).toContain('auth.oidc.issuer')
  })

  test('no group makes somebody the owner of a project', () => {
    const roles = { staff: { role: 'owner', project: 'proj_default' }, others: { role: 'king' } }
    const oidc = { issuer: 'https://id.example', clientId: 'c', clientSecret: 's', roles, scopes: ['email'] }
    const message = mistakesOf(() => parseConfig({ auth: { oidc } }))
    expect(message).toContain('auth.oidc.roles.staff: a project has no owner')
    expect(message).toContain('auth.oidc.roles.others.role')
    expect(message).toContain("auth.oidc.scopes: must hold 'openid'")
  })

  test('units are required and understood', () => {
    const config = parseConfig({ gateway: { bodyLimit: '1.5MiB', stallTimeout: '250ms', drainGrace: '2m' } })
    expect(config.gateway).toMatchObject({ bodyLimit: 1_572_864, stallTimeout: 250, drainGrace: 120_000 })
    expect(mistakesOf(() => parseConfig({ gateway: { stallTimeout: '250' } }))).toContain('is not a duration')
  })
})

describe('the example file', () => {
  test('is a valid configuration that changes nothing', () => {
    expect(parseConfig(parse(exampleConfig()))).toEqual(parseConfig({}))
  })
})

test('the example file in the repository is the one that the schema gives', () => {
  const path = join(import.meta.dirname, '..', '..', 'helixflow.example.yaml')
  expect(readFileSync(path, 'utf8'), 'run `npm run gen`').toBe(exampleConfig())
})

describe('settings', () => {
  test('the environment wins over the file, flags over both', () => {
    const configPath = join(directory, 'helixflow.yaml')
    writeFileSync(configPath, 'gateway: {port: 1, queueMax: 1, host: file}\n')
    const { config } = loadSettings(
      { configPath, home: directory, flags: { 'gateway.port': 3, 'gateway.host': undefined } },
      { HELIXFLOW_GATEWAY_PORT: '2', HELIXFLOW_GATEWAY_QUEUE_MAX: '2' },
    )
    expect(config.gateway).toMatchObject({ port: 3, queueMax: 2, host: 'file' })
  })

  test('a misspelt variable is refused by name', () => {
    expect(mistakesOf(() => loadSettings({ home: directory }, { HELIXFLOW_GATEWAY_PROT: '1' }))).toContain(
      'HELIXFLOW_GATEWAY_PROT: no such setting',
    )
  })

  test('a list comes from the environment as YAML', () => {
    const { config } = loadSettings(
      { home: directory },
      { HELIXFLOW_UPSTREAMS: '[{name: a, url: "http://x", models: [m]}]' },
    )
    expect(config.upstreams).toEqual([
      { name: 'a', url: 'http://x', models: ['m'], slots: 64, continues: false, weight: 1, fallback: false },
    ])
  })

  test('a file that is no YAML is named in the error', () => {
    const configPath = join(directory, 'broken.yaml')
    writeFileSync(configPath, 'gateway: [')
    expect(mistakesOf(() => loadSettings({ configPath, home: directory }, {}))).toContain(configPath)
  })
})
