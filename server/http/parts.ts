import type { ArraySources } from '../array/job.js';
import type { Configuration } from '../config.js';
import type { Registry } from '../device/registry.js';
import type { EventBus } from '../event-bus.js';
import type { Scheduler } from '../job/scheduler.js';
import type { JobStore } from '../job/store.js';
import type { Metrics } from '../metrics.js';
import type { CalibrationStore } from '../store/calibrations.js';
import type { ChipStore } from '../store/chips.js';
import type { DatasetStore } from '../store/datasets.js';
import type { ModelStore } from '../store/models.js';
import type { ObjectStore } from '../store/objects.js';
import type { StaleSnapshots } from '../store/stale-snapshots.js';
import type { ThresholdStore } from '../store/thresholds.js';
import type { JobProgress } from './job-progress.js';

/** What the routes work with. */
export interface ServiceParts {
  readonly configuration: Configuration;
  readonly store: JobStore;
  readonly objects: ObjectStore;
  readonly models: ModelStore;
  readonly chips: ChipStore;
  readonly datasets: DatasetStore;
  readonly staleSnapshots: StaleSnapshots;
  readonly calibrations: CalibrationStore;
  readonly thresholds: ThresholdStore;
  readonly registry: Registry;
  readonly scheduler: Scheduler;
  readonly bus: EventBus;
  readonly metrics: Metrics;
  readonly progress: JobProgress;
  readonly arraySources: ArraySources;
}
