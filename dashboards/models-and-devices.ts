import { badFrom, type Dashboard, type Section, worseAbove } from './panel.ts'
import { gauge, HOUR_MS, increase, mean, quantile, rate, ratio } from './queries.ts'
import { scheduler } from './scheduler.ts'
import { yesOrNo } from './words.ts'

const models: Section = {
  title: 'Models',
  panels: [
    {
      look: 'stack',
      title: 'Instances by model and state',
      description: 'What is loaded, loading, finishing its last requests or unloading.',
      unit: 'short',
      decimals: 0,
      min: 0,
      series: [
        {
          query: gauge('sum', 'helixflow_model_instances', { by: ['model', 'state'] }),
          legend: '{{model}} {{state}}',
        },
      ],
    },
    {
      look: 'stack',
      title: 'Models that are wanted and not ready',
      description:
        'Models that somebody asked for and that load, or find no room. What finds no room for minutes needs memory, or fewer pinned models.',
      unit: 'short',
      decimals: 0,
      min: 0,
      series: [{ query: gauge('sum', 'helixflow_models_waiting', { by: ['reason'] }), legend: '{{reason}}' }],
    },
    {
      look: 'lines',
      title: 'Waiting requests by model',
      description: 'Requests that wait for a slot of their model, or for the model.',
      unit: 'short',
      decimals: 0,
      min: 0,
      series: [{ query: gauge('sum', 'helixflow_queue_depth', { by: ['model'] }), legend: '{{model}}' }],
    },
    {
      look: 'lines',
      title: 'Time to load',
      description:
        'How long models took from the order to the first test token. It grows when files are no longer in the page cache.',
      unit: 's',
      min: 0,
      series: [
        {
          query: quantile(0.95, 'helixflow_model_load_seconds', { by: ['model'] }),
          legend: '{{model}} 95 %',
        },
        { query: mean('helixflow_model_load_seconds', { by: ['model'] }), legend: '{{model}} mean' },
      ],
    },
    {
      look: 'stack',
      title: 'Evictions in an hour',
      description: 'Instances that were told to go, by the reason.',
      unit: 'short',
      min: 0,
      series: [
        {
          query: increase(HOUR_MS, 'helixflow_model_evictions_total', { by: ['reason'] }),
          legend: '{{reason}}',
        },
      ],
    },
    {
      look: 'lines',
      title: 'Evictions that were regretted, in an hour',
      description:
        'Models that were evicted and asked for again before their load had paid for itself. Many mean that the models in use do not fit together.',
      unit: 'short',
      min: 0,
      series: [{ query: increase(HOUR_MS, 'helixflow_eviction_regrets_total'), legend: 'regretted' }],
    },
    {
      look: 'lines',
      title: 'Tokens made a second, by model',
      description:
        'Completion tokens a second. What one model loses while another gains shares a device with it.',
      unit: 'cps',
      min: 0,
      series: [
        {
          query: rate('helixflow_tokens_total', { where: { direction: 'completion' }, by: ['model'] }),
          legend: '{{model}}',
        },
      ],
    },
    {
      look: 'lines',
      title: 'Time to the first token, by model',
      description:
        '95 of 100 streamed answers of the model began within this time, waiting and loading included.',
      unit: 's',
      min: 0,
      thresholds: worseAbove(1, 2),
      series: [
        {
          query: quantile(0.95, 'helixflow_time_to_first_token_seconds', { by: ['model'] }),
          legend: '{{model}}',
        },
      ],
    },
    {
      look: 'lines',
      title: 'Time between tokens, by model',
      description: '95 of 100 streamed answers took at most so long for each token after the first.',
      unit: 's',
      min: 0,
      thresholds: worseAbove(0.1, 0.2),
      series: [
        {
          query: quantile(0.95, 'helixflow_time_per_output_token_seconds', { by: ['model'] }),
          legend: '{{model}}',
        },
      ],
    },
  ],
}

const engines: Section = {
  title: 'Engines and test generations',
  panels: [
    {
      look: 'stack',
      title: 'Engines that ended unasked, in an hour',
      description: 'Crashes by model and reason. Three in ten minutes put a model into quarantine.',
      unit: 'short',
      min: 0,
      empty: 'none',
      thresholds: badFrom(3),
      series: [
        {
          query: increase(HOUR_MS, 'helixflow_engine_exits_total', { by: ['model', 'why'] }),
          legend: '{{model}} {{why}}',
        },
      ],
    },
    {
      look: 'states',
      title: 'Test generations',
      description:
        'Whether every replica of a model answered its last test generation, which an idle one is given now and then.',
      unit: 'none',
      width: 8,
      empty: 'none yet',
      words: yesOrNo('answers', 'does not answer'),
      series: [{ query: gauge('min', 'helixflow_canary_healthy', { by: ['model'] }), legend: '{{model}}' }],
    },
    {
      look: 'lines',
      title: 'Time of test generations',
      description:
        'How long one token of an idle replica took, and how many of those tests failed a second. It shows a device that became slow before its users do.',
      unit: 's',
      min: 0,
      series: [
        { query: quantile(0.95, 'helixflow_canary_seconds', { by: ['model'] }), legend: '{{model}} 95 %' },
        {
          query: rate('helixflow_canary_failures_total', { by: ['model'] }),
          legend: '{{model}} failures a second',
        },
      ],
    },
  ],
}

const devices: Section = {
  title: 'Devices and nodes',
  panels: [
    {
      look: 'stack',
      title: 'Device memory',
      description: 'What models take as reckoned, what foreign processes take, and what is free for models.',
      unit: 'bytes',
      min: 0,
      series: [
        {
          query: gauge('sum', 'helixflow_device_memory_bytes', {
            where: { kind: ['models', 'foreign', 'free'] },
            by: ['device', 'kind'],
          }),
          legend: '{{device}} {{kind}}',
        },
      ],
    },
    {
      look: 'bars',
      title: 'Memory by model and device',
      description: 'What the instances of each model take on each device.',
      unit: 'bytes',
      min: 0,
      series: [
        {
          query: gauge('sum', 'helixflow_model_memory_bytes', { by: ['model', 'device'] }),
          legend: '{{model}} on {{device}}',
        },
      ],
    },
    {
      look: 'lines',
      title: 'How busy devices are',
      description:
        'Share of the time in which the device computed. Busy devices with waiting requests beside idle ones would be a matter for `helixflow explain`.',
      unit: 'percentunit',
      min: 0,
      max: 1,
      empty: 'no device says',
      series: [
        {
          query: gauge('max', 'helixflow_device_utilization_ratio', { by: ['device'] }),
          legend: '{{device}}',
        },
      ],
    },
    {
      look: 'lines',
      title: 'Temperature',
      description: 'At about 90 °C a card slows itself down; the pool gives a hot one no new models.',
      unit: 'celsius',
      empty: 'no device says',
      thresholds: worseAbove(80, 90),
      series: [
        {
          query: gauge('max', 'helixflow_device_temperature_celsius', { by: ['device'] }),
          legend: '{{device}}',
        },
      ],
    },
    {
      look: 'lines',
      title: 'Power',
      description: 'What each device draws, as it says itself.',
      unit: 'watt',
      min: 0,
      empty: 'no device says',
      series: [
        { query: gauge('sum', 'helixflow_device_power_watts', { by: ['device'] }), legend: '{{device}}' },
      ],
    },
    {
      look: 'number',
      title: 'Energy for one token',
      description: 'What all devices draw, divided by the tokens that are made a second.',
      unit: 'joule',
      height: 8,
      width: 8,
      empty: 'no device says',
      whole: true,
      series: [
        {
          query: ratio(
            gauge('sum', 'helixflow_device_power_watts'),
            rate('helixflow_tokens_total', { where: { direction: 'completion' } }),
          ),
          legend: 'for a token',
        },
      ],
    },
    {
      look: 'states',
      title: 'Devices',
      description: 'Whether a device takes new models; not while it is hot or lost.',
      unit: 'none',
      words: yesOrNo('takes models', 'hot or lost'),
      series: [{ query: gauge('min', 'helixflow_device_healthy', { by: ['device'] }), legend: '{{device}}' }],
    },
    {
      look: 'states',
      title: 'Nodes',
      description:
        'Whether a node says that it is there. A silent one is given up after some seconds, and its models are loaded elsewhere.',
      unit: 'none',
      words: yesOrNo('there', 'silent'),
      series: [{ query: gauge('max', 'helixflow_node_up', { by: ['node'] }), legend: '{{node}}' }],
    },
    {
      look: 'lines',
      title: 'Engine processes',
      description:
        'Engines that run on each machine. More than the pool has instances there would be ones that nobody knows.',
      unit: 'short',
      decimals: 0,
      min: 0,
      series: [
        { query: gauge('sum', 'helixflow_node_engines', { by: ['instance'] }), legend: '{{instance}}' },
      ],
    },
    {
      look: 'lines',
      title: 'Memory pressure',
      description:
        'Share of the last 10 s in which something on the machine waited for memory. More than a few percent: engines are being swapped out or their files read again.',
      unit: 'percentunit',
      min: 0,
      thresholds: worseAbove(0.05, 0.2),
      series: [
        {
          query: gauge('max', 'helixflow_node_memory_pressure_ratio', { by: ['instance'] }),
          legend: '{{instance}}',
        },
      ],
    },
  ],
}

export const modelsAndDevices: Dashboard = {
  uid: 'helixflow-models',
  title: 'HelixFlow: models and devices',
  description: 'What is loaded where, what devices say, and what the scheduler decides.',
  variables: ['model', 'device'],
  sections: [models, engines, devices, scheduler],
}
