import { existsSync, readFileSync } from 'node:fs'
import { homedir } from 'node:os'
import { join, resolve } from 'node:path'
import { parse } from 'yaml'
import { HelixError } from '../core/errors.ts'
import { configKeys } from './document.ts'
import { type Config, parseConfig } from './schema.ts'

/** Everything that HelixFlow takes from outside at its start. Read here once; nothing else looks at the environment. */
export interface Settings {
  readonly config: Config
  /** Where data lives. */
  readonly home: string
  /** The environment variables that other programs defined and that we honour. */
  readonly environment: Environment
}

export interface Environment {
  /** PATH, for finding compilers and engines. */
  readonly searchPath: string
  readonly huggingFaceToken: string | undefined
  /** What pip would read: PIP_* variables, by name. */
  readonly pip: Readonly<Record<string, string>>
  readonly configHome: string | undefined
  readonly virtualEnvironment: string | undefined
  readonly proxy: {
    readonly httpProxy: string | undefined
    readonly httpsProxy: string | undefined
    readonly noProxy: string | undefined
  }
  readonly compiler: string | undefined
  /** A key for `helixflow chat`. */
  readonly apiKey: string | undefined
  readonly noColor: boolean
}

type Variables = Readonly<Record<string, string | undefined>>

/** Variables with our prefix that are no settings of helixflow.yaml. */
const OTHER_VARIABLES = new Set(['HELIXFLOW_HOME', 'HELIXFLOW_CONFIG', 'HELIXFLOW_API_KEY'])

/**
 * Settings from helixflow.yaml, the environment over it, flags over that.
 * @param flags what the command line sets, by `section.key`
 * @throws HelixError `invalid_configuration` with every mistake
 */
export function loadSettings(
  options: {
    configPath?: string | undefined
    home?: string | undefined
    flags?: Readonly<Record<string, unknown>>
  } = {},
  variables: Variables = process.env,
): Settings {
  const home = resolve(options.home ?? variables['HELIXFLOW_HOME'] ?? defaultHome(variables))
  const path =
    options.configPath ??
    variables['HELIXFLOW_CONFIG'] ??
    firstExisting(['helixflow.yaml', join(home, 'helixflow.yaml')])
  const document = path === undefined ? {} : readDocument(path)
  if (variables['HF_ENDPOINT'])
    setDefault(document, 'models', 'huggingFaceEndpoint', variables['HF_ENDPOINT'])
  for (const [section, key, value] of [...fromVariables(variables), ...fromFlags(options.flags ?? {})]) {
    assign(document, section, key, value)
  }
  return { config: parseConfig(document), home, environment: readEnvironment(variables) }
}

function readEnvironment(variables: Variables): Environment {
  const pip = Object.entries(variables).filter(([name]) => name.startsWith('PIP_'))
  return {
    searchPath: variables['PATH'] ?? '',
    huggingFaceToken: variables['HF_TOKEN'],
    pip: Object.fromEntries(pip.map(([name, value]) => [name, value ?? ''])),
    configHome: variables['XDG_CONFIG_HOME'],
    virtualEnvironment: variables['VIRTUAL_ENV'],
    proxy: {
      httpProxy: variables['HTTP_PROXY'] ?? variables['http_proxy'],
      httpsProxy: variables['HTTPS_PROXY'] ?? variables['https_proxy'],
      noProxy: variables['NO_PROXY'] ?? variables['no_proxy'],
    },
    compiler: variables['CXX'],
    apiKey: variables['HELIXFLOW_API_KEY'],
    noColor: variables['NO_COLOR'] !== undefined && variables['NO_COLOR'] !== '',
  }
}

function defaultHome(variables: Variables): string {
  if (process.platform === 'darwin') return join(homedir(), 'Library', 'Application Support', 'helixflow')
  return join(variables['XDG_DATA_HOME'] || join(homedir(), '.local', 'share'), 'helixflow')
}

function firstExisting(paths: readonly string[]): string | undefined {
  return paths.find((path) => existsSync(path))
}

function readDocument(path: string): Record<string, unknown> {
  let document: unknown
  try {
    document = parse(readFileSync(path, 'utf8'))
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message : String(cause)
    throw new HelixError('invalid_configuration', `Cannot read ${path}: ${reason}`, { cause })
  }
  if (document === null || document === undefined) return {}
  if (typeof document === 'object' && !Array.isArray(document)) return document as Record<string, unknown>
  throw new HelixError('invalid_configuration', `${path} must hold sections such as 'gateway:'`)
}

/** HELIXFLOW_GATEWAY_QUEUE_MAX=10 -> ['gateway', 'queueMax', 10]. Values are read as YAML. */
function fromVariables(variables: Variables): [string, string, unknown][] {
  const known = new Map<string, [string, string]>()
  for (const [section, keys] of configKeys()) {
    known.set(`HELIXFLOW_${section.toUpperCase()}`, [section, ''])
    for (const key of keys) known.set(`HELIXFLOW_${section.toUpperCase()}_${upperSnake(key)}`, [section, key])
  }
  const ours = Object.entries(variables).filter(
    ([name]) => name.startsWith('HELIXFLOW_') && !OTHER_VARIABLES.has(name),
  )
  const unknown = ours.filter(([name]) => !known.has(name)).map(([name]) => `  ${name}: no such setting`)
  if (unknown.length > 0) {
    throw new HelixError('invalid_configuration', `Invalid environment:\n${unknown.join('\n')}`)
  }
  return ours.map(([name, value]) => {
    const [section, key] = known.get(name) ?? ['', '']
    return [section, key, parse(value ?? '')]
  })
}

function upperSnake(key: string): string {
  return key.replace(/[A-Z]/g, (letter) => `_${letter}`).toUpperCase()
}

function fromFlags(flags: Readonly<Record<string, unknown>>): [string, string, unknown][] {
  return Object.entries(flags)
    .filter(([, value]) => value !== undefined)
    .map(([path, value]) => {
      const [section = '', key = ''] = path.split('.')
      return [section, key, value]
    })
}

function assign(document: Record<string, unknown>, section: string, key: string, value: unknown): void {
  if (key === '') document[section] = value
  else document[section] = { ...(document[section] as object | undefined), [key]: value }
}

function setDefault(document: Record<string, unknown>, section: string, key: string, value: unknown): void {
  const present = document[section] as Record<string, unknown> | undefined
  if (present?.[key] === undefined) assign(document, section, key, value)
}
