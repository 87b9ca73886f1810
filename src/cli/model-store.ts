import { homedir } from 'node:os'
import type { Settings } from '../config/load.ts'
import type { Places } from '../config/places.ts'
import type { Logger } from '../core/log.ts'
import { pipConfigPaths } from '../engines/model-sources/pip-settings.ts'
import { ModelStore } from '../engines/model-store.ts'
import { systemClock } from '../system.ts'

/** The models of this installation. */
export function openModelStore(
  { config, environment }: Settings,
  places: Places,
  log: Logger,
): Promise<ModelStore> {
  const homeDirectory = homedir()
  const { configHome, virtualEnvironment } = environment
  return ModelStore.open({
    directory: places.models,
    sources: {
      huggingFace: { endpoint: config.models.huggingFaceEndpoint, token: environment.huggingFaceToken },
      pip: {
        variables: environment.pip,
        configPaths: pipConfigPaths({
          homeDirectory,
          platform: process.platform,
          configHome,
          virtualEnvironment,
        }),
        homeDirectory,
      },
      proxy: environment.proxy,
    },
    clock: systemClock,
    log,
  })
}
