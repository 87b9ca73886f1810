import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { parse } from 'yaml'
import { configKeys } from '../src/config/document.ts'
import { DASHBOARDS } from './dashboards.ts'

const deploy = join(import.meta.dirname, '..', 'deploy')
const read = (...path: readonly string[]) => readFileSync(join(deploy, ...path), 'utf8')

interface Service {
  readonly environment?: Readonly<Record<string, string>>
  readonly ports: readonly string[]
  readonly volumes?: readonly string[]
  readonly healthcheck?: object
  readonly depends_on?: Readonly<Record<string, { readonly condition: string }>>
}
const text = read('compose.yaml')
const { services, volumes } = parse(text) as {
  services: Readonly<Record<string, Service>>
  volumes: Readonly<Record<string, null>>
}
const all = Object.values(services)

describe('the compose file', () => {
  test('has all services at their ports, on this machine alone', () => {
    const ports = all.flatMap((service) => service.ports)
    expect(ports.filter((port) => !/^127\.0\.0\.1:(\d+):\1$/.test(port))).toEqual([])
    expect(ports.map((port) => Number(port.split(':')[1])).sort((one, other) => one - other)).toEqual([
      3000, 5432, 6379, 8443, 9090, 9464,
    ])
  })

  test('mounts files that exist, and volumes that it declares', () => {
    const sources = all
      .flatMap((service) => service.volumes ?? [])
      .map((volume) => volume.split(':')[0] ?? '')
    const missing = sources.filter((source) =>
      source.startsWith('.') ? !existsSync(join(deploy, source)) : !(source in volumes),
    )
    expect(missing).toEqual([])
  })

  test('asks for every password and has a default for none', () => {
    const variables = [...text.matchAll(/\$\{[^}]*\}/g)].map(([variable]) => variable)
    expect(variables.filter((variable) => !/^\$\{[A-Z_]+:\?[^}]+\}$/.test(variable))).toEqual([])
    const secrets = all.flatMap((service) => Object.entries(service.environment ?? {}))
    const plain = secrets.filter(
      ([name, value]) => /PASSWORD|AUTH|SECRET/.test(name) && !value.startsWith('${'),
    )
    expect(plain).toEqual([])
  })

  test('checks the health of each service, and waits for it where another needs it', () => {
    expect(all.filter(({ healthcheck }) => !healthcheck)).toEqual([])
    const waits = all.flatMap((service) => Object.entries(service.depends_on ?? {}))
    expect(
      waits.filter(([name, { condition }]) => !(name in services) || condition !== 'service_healthy'),
    ).toEqual([])
  })

  test('sets only what is a setting', () => {
    const snake = (key: string) => key.replace(/[A-Z]/g, (letter) => `_${letter}`).toUpperCase()
    const known = [...configKeys()].flatMap(([section, keys]) =>
      [...keys].map((key) => `HELIXFLOW_${section.toUpperCase()}_${snake(key)}`),
    )
    const set = Object.keys(services['helixflow']?.environment ?? {})
    expect(set.filter((name) => !known.includes(name))).toEqual([])
  })

  test('reads the platform where it listens', () => {
    const settings = parse(read('prometheus', 'prometheus.yaml'))
    expect(settings.scrape_configs[0].static_configs[0].targets).toEqual(['helixflow:9464'])
    expect(services['helixflow']?.environment?.['HELIXFLOW_METRICS_HOST']).toBe('0.0.0.0')
    for (const file of settings.rule_files)
      expect(existsSync(join(deploy, 'prometheus', file)), file).toBe(true)
  })
})

describe('what Grafana is provisioned with', () => {
  test('is a Prometheus that compose starts, with the interval at which it reads', () => {
    const [source] = parse(read('grafana', 'provisioning', 'datasources', 'prometheus.yaml')).datasources
    expect(source).toMatchObject({ type: 'prometheus', url: 'http://prometheus:9090' })
    expect(services['prometheus']?.ports).toEqual(['127.0.0.1:9090:9090'])
    const { global } = parse(read('prometheus', 'prometheus.yaml'))
    expect(source.jsonData.timeInterval).toBe(global.scrape_interval)
  })

  test('finds the dashboards where compose puts them', () => {
    const [provider] = parse(read('grafana', 'provisioning', 'dashboards', 'helixflow.yaml')).providers
    expect(services['grafana']?.volumes).toContain(`./grafana/dashboards:${provider.options.path}:ro`)
    const home = services['grafana']?.environment?.['GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH']
    expect(DASHBOARDS.map(({ uid }) => `${provider.options.path}/${uid}.json`)).toContain(home)
  })
})
