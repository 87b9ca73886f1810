import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { describe, expect, onTestFinished, test } from 'vitest'
import { AmdDevices } from './amd-devices.ts'
import { amdBytesOf } from './amd-process-memory.ts'

const GIB = 2 ** 30

function folder(files: Readonly<Record<string, string | number>>): string {
  const root = mkdtempSync(join(tmpdir(), 'hf-amd-'))
  onTestFinished(() => rmSync(root, { recursive: true, force: true }))
  for (const [path, text] of Object.entries(files)) {
    mkdirSync(dirname(join(root, path)), { recursive: true })
    writeFileSync(join(root, path), `${text}\n`)
  }
  return root
}

const CARD = 'class/drm/card1/device'
const MI300 = {
  [`${CARD}/mem_info_vram_total`]: 192 * GIB,
  [`${CARD}/mem_info_vram_used`]: 12 * GIB,
  [`${CARD}/gpu_busy_percent`]: 42,
  [`${CARD}/unique_id`]: '3f5a0c1d2e4b6978',
  [`${CARD}/product_name`]: 'AMD Instinct MI300X',
  [`${CARD}/uevent`]: 'DRIVER=amdgpu\nPCI_SLOT_NAME=0000:0a:00.0',
  [`${CARD}/hwmon/hwmon3/temp1_input`]: 55_000,
  [`${CARD}/hwmon/hwmon3/temp1_crit`]: 100_000,
  [`${CARD}/hwmon/hwmon3/power1_average`]: 300_500_000,
  'class/drm/card1-DP-1/status': 'disconnected',
  'class/drm/card0/device/vendor': '0x8086',
  'class/drm/renderD128/device/mem_info_vram_total': GIB,
}

describe('an AMD card', () => {
  test('is read from the files of the kernel, and other cards are not taken for one', async () => {
    const asked: unknown[] = []
    const reports = await new AmdDevices('node', folder(MI300)).next((...which) => asked.push(which) * GIB)
    expect(reports).toEqual([
      {
        ...{ id: 'GPU-3f5a0c1d2e4b6978', kind: 'rocm', name: 'AMD Instinct MI300X' },
        ...{ totalBytes: 192 * GIB, usedBytes: 12 * GIB, foreignBytes: 11 * GIB },
        ...{ health: 'ok', reason: undefined, clique: undefined },
        ...{ utilization: 0.42, temperatureCelsius: 55, powerWatts: 300.5 },
      },
    ])
    expect(asked).toEqual([['GPU-3f5a0c1d2e4b6978', '0000:0a:00.0']])
  })

  test('that shows only its memory is a device of this node', async () => {
    const root = folder({ [`${CARD}/mem_info_vram_total`]: 8 * GIB })
    const [card] = await new AmdDevices('node', root).next(() => 0)
    expect(card).toMatchObject({ id: 'node/card1', name: 'AMD GPU card1', foreignBytes: 0, health: 'ok' })
  })

  test('is hot at its critical temperature, and lost when the kernel no longer shows it', async () => {
    const root = folder({ ...MI300, [`${CARD}/hwmon/hwmon3/temp1_input`]: 100_000 })
    const amd = new AmdDevices('node', root)
    expect((await amd.next(() => 0))[0]).toMatchObject({ health: 'hot', reason: 'too warm' })
    rmSync(join(root, 'class/drm/card1'), { recursive: true })
    expect((await amd.next(() => 0))[0]?.health).toBe('lost')
  })

  test('is none where there are no cards at all', async () => {
    expect(await new AmdDevices('node', '/nowhere').next(() => 0)).toEqual([])
  })
})

describe('what a process holds of an AMD card', () => {
  test('is counted once for each client, and for that card alone', () => {
    const info = (client: number, card: string, kib: number) =>
      `pos: 0\ndrm-driver: amdgpu\ndrm-client-id: ${client}\ndrm-pdev: ${card}\ndrm-memory-vram: ${kib} KiB`
    const proc = folder({
      '7/fdinfo/3': info(1, '0000:0a:00.0', 1_024),
      '7/fdinfo/4': info(1, '0000:0a:00.0', 1_024),
      '7/fdinfo/5': info(2, '0000:0a:00.0', 512),
      '7/fdinfo/6': info(3, '0000:0b:00.0', 4_096),
      '7/fdinfo/7': 'pos: 0\nflags: 02',
    })
    expect(amdBytesOf(7, '0000:0a:00.0', proc)).toBe(1_536 * 1_024)
    expect(amdBytesOf(7, '0000:0c:00.0', proc)).toBeUndefined()
    expect(amdBytesOf(8, '0000:0a:00.0', proc)).toBeUndefined()
  })
})
