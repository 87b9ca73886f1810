import { createInterface } from 'node:readline'
import { Nvml } from './nvml.ts'
import { cliquesOf } from './nvml-cliques.ts'
import { type NvidiaReading, NvmlDevice } from './nvml-device.ts'
import { NvmlFaults } from './nvml-faults.ts'

// A program of its own, because a call into a sick driver can last for seconds or for ever. Its argument is the
// library; for each line on its input it answers with a line that holds all devices. It ends with its input.

const nvml = await Nvml.open(process.argv[2] ?? '')
// Whoever started it sees that nothing was answered.
if (!nvml) process.exit(0)
const read = readerOf(nvml)
createInterface({ input: process.stdin })
  .on('line', () => process.stdout.write(`${JSON.stringify(read())}\n`))
  .on('close', () => process.exit(0))

/** Cards keep their handles for as long as this process lives; another is started where they have changed. */
function readerOf(library: Nvml): () => readonly NvidiaReading[] {
  const cards = cardsOf(library)
  const cliques = cliquesOf(library, cards)
  const devices = cards.flatMap((card) => {
    const instances = card.instances()
    return instances.length > 0 ? instances : [card]
  })
  const faults = new NvmlFaults(library, cards)
  return () => {
    faults.next()
    return devices.map((device) => device.read(cliques.get(device.id)))
  }
}

function cardsOf(library: Nvml): readonly NvmlDevice[] {
  const count = Buffer.alloc(4)
  if (library.ask('nvmlDeviceGetCount_v2', 'void *count', count) !== 'ok') return []
  return Array.from({ length: count.readUInt32LE() }, (_, index) => {
    const handle = Buffer.alloc(8)
    const answer = library.ask('nvmlDeviceGetHandleByIndex_v2', 'uint32_t index, void *handle', index, handle)
    return answer === 'ok' ? [new NvmlDevice(library, handle.readBigUInt64LE(), undefined)] : []
  }).flat()
}
