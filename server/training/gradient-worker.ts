// A thread of the pool.
import { parentPort, workerData } from 'node:worker_threads';
import { type Batch, BatchGradients, type GradientBench } from './batch-gradients.js';

const gradients = new BatchGradients(workerData as GradientBench);
parentPort?.on('message', (batch: Batch) => parentPort?.postMessage(gradients.run(batch)));
