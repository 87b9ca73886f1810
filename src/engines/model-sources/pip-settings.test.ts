import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { pipConfigPaths, readPackageIndexes } from './pip-settings.ts'

let home: string

beforeEach(async () => {
  home = await mkdtemp(join(tmpdir(), 'helixflow-pip-'))
})

afterEach(() => rm(home, { recursive: true, force: true }))

async function read(options: { variables?: Record<string, string>; files?: readonly string[] } = {}) {
  const configPaths = [join(home, 'missing.conf')]
  for (const [index, text] of (options.files ?? []).entries()) {
    const path = join(home, `${index}.conf`)
    await writeFile(path, text)
    configPaths.push(path)
  }
  return readPackageIndexes({ variables: options.variables ?? {}, configPaths, homeDirectory: home })
}

describe('the package indexes', () => {
  test('are pypi.org when nothing says otherwise', async () => {
    expect(await read()).toEqual({
      urls: ['https://pypi.org/simple'],
      certificateAuthorities: undefined,
    })
  })

  test('come from the files of pip, of which the later one wins', async () => {
    const files = [
      '[global]\nindex-url = https://machine.example/simple\nextra-index-url = https://extra.example/simple\n',
      '# of the user\n[global]\nindex_url: https://user.example/simple\n; the end\n[list]\nindex-url = https://no.example\n',
    ]
    expect((await read({ files })).urls).toEqual([
      'https://user.example/simple',
      'https://extra.example/simple',
    ])
  })

  test('come from the section of pip install before the global one', async () => {
    const files = [
      '[install]\nindex-url = https://install.example\n[global]\nindex-url = https://global.example\n',
    ]
    expect((await read({ files })).urls).toEqual(['https://install.example'])
  })

  test('may be several, over several lines or words', async () => {
    const files = [
      '[global]\nextra-index-url =\n    https://one.example/simple\n    https://two.example/simple\n',
    ]
    expect((await read({ files })).urls.slice(1)).toEqual([
      'https://one.example/simple',
      'https://two.example/simple',
    ])
    const variables = { PIP_EXTRA_INDEX_URL: 'https://a.example https://b.example' }
    expect((await read({ variables, files })).urls.slice(1)).toEqual([
      'https://a.example',
      'https://b.example',
    ])
  })

  test('come from the environment before all files, unless it says nothing', async () => {
    const files = ['[global]\nindex-url = https://file.example\n']
    expect((await read({ variables: { PIP_INDEX_URL: 'https://env.example' }, files })).urls).toEqual([
      'https://env.example',
    ])
    expect((await read({ variables: { PIP_INDEX_URL: '' }, files })).urls).toEqual(['https://file.example'])
  })

  test('come from the file that PIP_CONFIG_FILE names before the other files', async () => {
    const named = join(home, 'named.conf')
    await writeFile(named, '[global]\nindex-url = https://named.example\n')
    const files = ['[global]\nindex-url = https://file.example\n']
    expect((await read({ variables: { PIP_CONFIG_FILE: named }, files })).urls).toEqual([
      'https://named.example',
    ])
  })

  test('come from no file when PIP_CONFIG_FILE is the null device', async () => {
    const files = ['[global]\nindex-url = https://file.example\n']
    expect((await read({ variables: { PIP_CONFIG_FILE: '/dev/null' }, files })).urls).toEqual([
      'https://pypi.org/simple',
    ])
  })

  test('are none when pip may use none', async () => {
    expect((await read({ files: ['[global]\nno-index = true\n'] })).urls).toEqual([])
    expect((await read({ variables: { PIP_NO_INDEX: '0' } })).urls).toHaveLength(1)
  })
})

describe('the certificate authorities', () => {
  test('are read from the file that is named, also in the home directory', async () => {
    await writeFile(join(home, 'ca.pem'), 'PEM')
    expect((await read({ files: ['[global]\ncert = ~/ca.pem\n'] })).certificateAuthorities).toBe('PEM')
  })

  test('of a file that is not there are a clear error', async () => {
    await expect(read({ variables: { PIP_CERT: join(home, 'no.pem') } })).rejects.toMatchObject({
      code: 'model_source_unavailable',
      message: expect.stringContaining('no.pem'),
      publicMessage: expect.stringMatching(/no\.pem, which cannot be read\. Correct PIP_CERT/),
    })
  })
})

test('the files of the user and of a virtual environment come after that of the machine', () => {
  const places = { homeDirectory: '/home/me', platform: 'linux', virtualEnvironment: '/venv' } as const
  expect(pipConfigPaths(places)).toEqual([
    '/etc/xdg/pip/pip.conf',
    '/etc/pip.conf',
    '/home/me/.pip/pip.conf',
    '/home/me/.config/pip/pip.conf',
    '/venv/pip.conf',
  ])
  expect(pipConfigPaths({ ...places, configHome: '/config' })).toContain('/config/pip/pip.conf')
  expect(pipConfigPaths({ ...places, platform: 'darwin' })).toContain(
    '/home/me/Library/Application Support/pip/pip.conf',
  )
})
