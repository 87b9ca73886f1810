import { readFile } from 'node:fs/promises'
import { devNull } from 'node:os'
import { join } from 'node:path'
import { HelixError } from '../../core/errors.ts'

/** What is needed to look for a package where pip would. */
export interface PipSettings {
  /** PIP_INDEX_URL, PIP_EXTRA_INDEX_URL, PIP_NO_INDEX, PIP_CERT and PIP_CONFIG_FILE, by name. */
  readonly variables: Readonly<Record<string, string | undefined>>
  /**
   * pip's files, of which the later ones win: see `pipConfigPaths`. Those that do not exist are passed over.
   */
  readonly configPaths: readonly string[]
  readonly homeDirectory: string
}

export interface PackageIndexes {
  /** In the order in which they are asked; may hold credentials. None when pip is told to use no index. */
  readonly urls: readonly string[]
  /** PEM, or undefined to trust what Node trusts. */
  readonly certificateAuthorities: string | undefined
}

export interface PipPlaces {
  readonly homeDirectory: string
  readonly platform: NodeJS.Platform
  /** XDG_CONFIG_HOME */
  readonly configHome?: string | undefined
  /** VIRTUAL_ENV */
  readonly virtualEnvironment?: string | undefined
}

const DEFAULT_INDEX = 'https://pypi.org/simple'

/** Where pip keeps settings: of the machine, then of the user, then of the virtual environment. */
export function pipConfigPaths(places: PipPlaces): string[] {
  const { homeDirectory, platform, configHome, virtualEnvironment } = places
  const machine =
    platform === 'darwin' ? '/Library/Application Support/pip/pip.conf' : '/etc/xdg/pip/pip.conf'
  const user = join(configHome || join(homeDirectory, '.config'), 'pip', 'pip.conf')
  const macUser = join(homeDirectory, 'Library', 'Application Support', 'pip', 'pip.conf')
  return [
    machine,
    '/etc/pip.conf',
    join(homeDirectory, '.pip', 'pip.conf'),
    user,
    ...(platform === 'darwin' ? [macUser] : []),
    ...(virtualEnvironment ? [join(virtualEnvironment, 'pip.conf')] : []),
  ]
}

/**
 * The package indexes that pip would use: its variables over its files over pypi.org.
 * @throws HelixError `model_source_unavailable` when a file that the settings name cannot be read
 */
export async function readPackageIndexes({
  variables,
  configPaths,
  homeDirectory,
}: PipSettings): Promise<PackageIndexes> {
  const settings = await readConfigFiles(variables['PIP_CONFIG_FILE'], configPaths)
  const setting = (name: string) =>
    variables[`PIP_${name.toUpperCase().replaceAll('-', '_')}`] || settings.get(name)
  const certificatePath = setting('cert')
  const urls = [setting('index-url') ?? DEFAULT_INDEX, ...words(setting('extra-index-url'))]
  return {
    urls: isTrue(setting('no-index')) ? [] : urls,
    certificateAuthorities: certificatePath && (await readNamed(expanded(certificatePath, homeDirectory))),
  }
}

/** As pip: a file named by PIP_CONFIG_FILE wins over all others, and the null device means none at all. */
async function readConfigFiles(
  named: string | undefined,
  configPaths: readonly string[],
): Promise<ReadonlyMap<string, string>> {
  if (named === devNull) return new Map()
  const settings = new Map<string, string>()
  for (const path of named ? [...configPaths, named] : configPaths) {
    for (const [name, value] of parseConfig(await readIfPresent(path))) settings.set(name, value)
  }
  return settings
}

/**
 * The settings that `pip install` would see: those of section `install` over those of `global`. Values go on
 * in indented lines.
 */
function parseConfig(text: string): Map<string, string> {
  const sections = new Map<string, Map<string, string>>()
  let section = new Map<string, string>()
  let name = ''
  for (const line of text.split(/\r?\n/)) {
    if (/^\s*([#;]|$)/.test(line)) continue
    const header = /^\[([^\]]+)\]/.exec(line)?.[1]
    const [, key, value = ''] = /^([^\s=:][^=:]*?)\s*[=:]\s*(.*)$/.exec(line) ?? []
    if (header !== undefined) {
      section = sections.get(header) ?? new Map()
      sections.set(header, section)
    } else if (/^\s/.test(line) && name !== '') {
      section.set(name, `${section.get(name)}\n${line.trim()}`.trim())
    } else if (key !== undefined) {
      name = key.toLowerCase().replaceAll('_', '-')
      section.set(name, value.trim())
    }
  }
  return new Map([...(sections.get('global') ?? []), ...(sections.get('install') ?? [])])
}

async function readIfPresent(path: string): Promise<string> {
  try {
    return await readFile(path, 'utf8')
  } catch (cause) {
    const code = cause instanceof Error && 'code' in cause ? cause.code : undefined
    if (code === 'ENOENT' || code === 'ENOTDIR') return ''
    throw unreadable(path, cause)
  }
}

async function readNamed(path: string): Promise<string> {
  try {
    return await readFile(path, 'utf8')
  } catch (cause) {
    throw unreadable(path, cause)
  }
}

function unreadable(path: string, cause: unknown): HelixError {
  return new HelixError(
    'model_source_unavailable',
    `pip's settings name ${path}, which cannot be read. Correct PIP_CERT, PIP_CONFIG_FILE or pip.conf.`,
    { internal: String(cause), cause },
  )
}

function expanded(path: string, homeDirectory: string): string {
  return path.startsWith('~/') ? join(homeDirectory, path.slice(2)) : path
}

function words(text: string | undefined): string[] {
  return (text ?? '').split(/\s+/).filter((word) => word !== '')
}

function isTrue(text: string | undefined): boolean {
  return ['1', 'true', 'yes', 'on', 'y', 't'].includes((text ?? '').toLowerCase())
}
