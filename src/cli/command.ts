import { Command } from 'commander'
import { loadSettings, type Settings } from '../config/load.ts'
import { type Places, placesOf } from '../config/places.ts'
import { ControlClient } from './control-client.ts'
import { createLogs, type Logs } from './logger.ts'
import { type Output, reportFailure, terminalOutput } from './output.ts'

/** What a command works with, from its common options. */
export interface CommandContext extends Logs {
  readonly settings: Settings
  readonly places: Places
  readonly control: ControlClient
  readonly output: Output
  readonly json: boolean
  /** Aborts at the first Ctrl-C. */
  readonly signal: AbortSignal
}

export interface CommonOptions {
  readonly config?: string
  readonly home?: string
  readonly json?: boolean
}

/** A command with the options that all have: --config, --home, --json. */
export function command(name: string, description: string): Command {
  return new Command(name)
    .description(description)
    .option('--config <file>', 'settings file (default: helixflow.yaml here or in the data folder)')
    .option('--home <folder>', 'data folder (default: $HELIXFLOW_HOME)')
    .option('--json', 'print results as JSON')
}

/**
 * Runs a command's work with its context; a failure is reported and becomes the exit code. `flags` are settings that
 * the command line overrides, by `section.key`.
 */
export async function runCommand(
  options: CommonOptions,
  work: (context: CommandContext) => Promise<number | undefined>,
  flags: Readonly<Record<string, unknown>> = {},
): Promise<void> {
  const json = options.json === true
  const interrupt = new AbortController()
  const onInterrupt = () => interrupt.abort(new Error('interrupted'))
  process.once('SIGINT', onInterrupt)
  try {
    const settings = loadSettings({ configPath: options.config, home: options.home, flags })
    const places = placesOf(settings.home, settings.config)
    const context: CommandContext = {
      settings,
      places,
      control: new ControlClient(places.controlSocket),
      output: terminalOutput(json),
      ...createLogs(settings.config.log),
      json,
      signal: interrupt.signal,
    }
    process.exitCode = (await work(context)) ?? 0
  } catch (reason) {
    process.exitCode = interrupt.signal.aborted ? 130 : reportFailure(reason, json)
  } finally {
    process.removeListener('SIGINT', onInterrupt)
  }
}
