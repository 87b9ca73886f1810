import { MAINTENANCE_WORK_MEM_MAX, memorySettings, WORK_MEM_MAX, worstCaseBytes } from '../memory-settings.ts'
import { advice, bytesText, type Check, ok, one, problem } from './check.ts'

/** A full pool of ten processes, or one that was given all the connections it can have. */
const CONNECTIONS_AT_WORK = 200

const connections: Check = {
  name: 'connections',
  run: async (database, { connectionsMax }) => {
    const { room, processes, listeners } = await one<{ room: number; processes: number; listeners: number }>(
      database,
      `with listening as (
         select application_name, count(*) as sessions from pg_stat_activity
         where datname = current_database() and application_name like 'helixflow listen %'
         group by application_name)
       select least(
                current_setting('max_connections')::integer
                  - current_setting('superuser_reserved_connections')::integer
                  - coalesce(current_setting('reserved_connections', true), '0')::integer,
                nullif((select rolconnlimit from pg_roles where rolname = current_user), -1),
                nullif((select datconnlimit from pg_database where datname = current_database()), -1)
              ) as room,
              greatest(1, (select max(sessions) from listening))::integer as processes,
              coalesce((select sum(sessions) from listening), 0)::integer as listeners`,
    )
    const needed = processes * connectionsMax + listeners
    const text = `${needed} at most (${processes} processes with ${connectionsMax}, ${listeners} that listen), of ${room}`
    if (needed <= room) return ok(text)
    return problem(
      `${text}: some would be refused under load.`,
      `Set max_connections to ${needed + 10} or more and restart the server, or lower database.connectionsMax.`,
    )
  },
}

const memory: Check = {
  name: 'memory',
  run: async (database, { memoryBytes, connectionsMax }) => {
    const settings = await one<{ sharedBuffers: number; workMem: number; maintenanceWorkMem: number }>(
      database,
      `select pg_size_bytes(current_setting('shared_buffers'))::float8 as "sharedBuffers",
              pg_size_bytes(current_setting('work_mem'))::float8 as "workMem",
              pg_size_bytes(current_setting('maintenance_work_mem'))::float8 as "maintenanceWorkMem"`,
    )
    const atWork = Math.max(CONNECTIONS_AT_WORK, connectionsMax)
    const worst = worstCaseBytes(settings, atWork)
    const text = `work_mem ${bytesText(settings.workMem)}, maintenance_work_mem ${bytesText(settings.maintenanceWorkMem)}, shared_buffers ${bytesText(settings.sharedBuffers)}: ${bytesText(worst)} at worst with ${atWork} connections`
    const full = `work_mem ${bytesText(WORK_MEM_MAX)} and maintenance_work_mem ${bytesText(MAINTENANCE_WORK_MEM_MAX)} would take ${bytesText(fullBytes(settings.sharedBuffers, atWork))}`
    if (memoryBytes === undefined)
      return ok(`${text}; ${full}. Tell the memory of its machine with --memory to have this judged.`)
    const fitting = memorySettings(memoryBytes, atWork)
    const remedy = `${full}; for ${bytesText(memoryBytes)} set work_mem ${bytesText(fitting.workMem)}, maintenance_work_mem ${bytesText(fitting.maintenanceWorkMem)}, shared_buffers ${bytesText(fitting.sharedBuffers)}.`
    const fits = worst <= memoryBytes || settings.workMem <= fitting.workMem
    if (!fits) return problem(`${text}, of ${bytesText(memoryBytes)}.`, remedy)
    const wasteful =
      settings.workMem < fitting.workMem / 2 || settings.maintenanceWorkMem < fitting.maintenanceWorkMem / 2
    if (wasteful) return advice(`${text}; more would fit in ${bytesText(memoryBytes)}.`, remedy)
    return ok(`${text}, of ${bytesText(memoryBytes)}; ${full}`)
  },
}

function fullBytes(sharedBuffers: number, connections: number): number {
  const most = { sharedBuffers, workMem: WORK_MEM_MAX, maintenanceWorkMem: MAINTENANCE_WORK_MEM_MAX }
  return worstCaseBytes(most, connections)
}

export const CAPACITY_CHECKS: readonly Check[] = [connections, memory]
