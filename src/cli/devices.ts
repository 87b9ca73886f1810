import type { Command } from 'commander'
import type { DeviceView } from '../contracts/pool.ts'
import { type CommonOptions, command, runCommand } from './command.ts'
import { sizeText, table } from './output.ts'

export function devicesCommand(): Command {
  return command('devices', 'the devices that models are placed on, and what lies there').action(devices)
}

function devices(options: CommonOptions): Promise<void> {
  return runCommand(options, async ({ control, output }) => {
    const held = await control.get<{ devices: readonly DeviceView[] }>('/admin/v1/devices')
    output.result(held.devices, () =>
      table(
        ['NODE', 'DEVICE', 'KIND', 'HEALTH', 'MEMORY', 'FOREIGN', 'FREE', 'BUSY', 'MODELS'],
        held.devices.map(row),
      ),
    )
    return 0
  })
}

function row(device: DeviceView): string[] {
  const { node, id, kind, health, reason, totalBytes, foreignBytes, freeBytes, utilization, instances } =
    device
  return [
    node,
    id,
    kind,
    reason === undefined ? health : `${health}: ${reason}`,
    sizeText(totalBytes),
    sizeText(foreignBytes),
    sizeText(Math.max(0, freeBytes)),
    utilization === undefined ? '-' : `${Math.round(utilization * 100)} %`,
    instances.map(({ id: instance, bytes }) => `${instance} ${sizeText(bytes)}`).join(', ') || '-',
  ]
}
