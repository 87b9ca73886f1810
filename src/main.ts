import { readFileSync } from 'node:fs'
import { Command, CommanderError } from 'commander'
import { administrationCommands } from './cli/administration.ts'
import { alertsCommand } from './cli/alerts.ts'
import { authCommand } from './cli/auth.ts'
import { backupCommand } from './cli/backup.ts'
import { broadcastCommand } from './cli/broadcast.ts'
import { cacheCommand } from './cli/cache.ts'
import { chatCommand } from './cli/chat.ts'
import { configCommand } from './cli/config.ts'
import { dashboardsCommand } from './cli/dashboards.ts'
import { dbCommand } from './cli/db.ts'
import { devicesCommand } from './cli/devices.ts'
import { doctorCommand } from './cli/doctor.ts'
import { enginesCommand } from './cli/engines.ts'
import { explainCommand } from './cli/explain.ts'
import { gatewayCommand } from './cli/gateway.ts'
import { historyCommand } from './cli/history.ts'
import { kpisCommand } from './cli/kpis.ts'
import { modelsCommand } from './cli/models.ts'
import { monitorCommand } from './cli/monitor.ts'
import { nodeCommand } from './cli/node.ts'
import { nodesCommand } from './cli/nodes.ts'
import { notificationsCommand } from './cli/notifications.ts'
import { poolCommand } from './cli/pool.ts'
import { simulateCommand } from './cli/simulate.ts'
import { topCommand } from './cli/top.ts'
import { upCommand } from './cli/up.ts'

const { version } = JSON.parse(readFileSync(new URL('../package.json', import.meta.url), 'utf8')) as {
  version: string
}

const program = new Command('helixflow')
  .description('Self-hosted AI inference: one OpenAI-compatible endpoint on your own machines.')
  .version(version)
  // Where a command has commands of its own, as `pool` has, each takes the options that stand behind it.
  .enablePositionalOptions()
  .addCommand(upCommand(version))
  .addCommand(authCommand(version))
  .addCommand(gatewayCommand(version))
  .addCommand(poolCommand(version))
  .addCommand(monitorCommand(version))
  .addCommand(nodeCommand(version))
  .addCommand(nodesCommand())
  .addCommand(modelsCommand())
  .addCommand(backupCommand())
  .addCommand(chatCommand())
  .addCommand(topCommand())
  .addCommand(simulateCommand())
  .addCommand(enginesCommand())
  .addCommand(devicesCommand())
  .addCommand(explainCommand())
  .addCommand(kpisCommand())
  .addCommand(notificationsCommand())
  .addCommand(dbCommand())
  .addCommand(dashboardsCommand())
  .addCommand(cacheCommand())
  .addCommand(broadcastCommand())
  .addCommand(historyCommand())
  .addCommand(alertsCommand())
  .addCommand(doctorCommand(version))
  .addCommand(configCommand())
for (const administration of administrationCommands()) program.addCommand(administration)

for (const command of allCommands(program))
  command.exitOverride().showHelpAfterError('(--help shows the usage)')

try {
  await program.parseAsync()
} catch (reason) {
  if (!(reason instanceof CommanderError)) throw reason
  // Help and version end a command well; everything else that the parser refuses is wrong usage.
  process.exitCode = reason.exitCode === 0 ? 0 : 2
}

function allCommands(command: Command): Command[] {
  return [command, ...command.commands.flatMap(allCommands)]
}
