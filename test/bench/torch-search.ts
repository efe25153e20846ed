// The same search in PyTorch, where that is installed, as a process that is asked for epochs.
import { type ChildProcessByStdio, spawn, spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import type { Readable, Writable } from 'node:stream';
import { type Network, type NetworkLayer, weightShape } from '../../server/network/network.js';
import { writeNpy } from '../../server/network/npy.js';
import type { LayerDevices, SearchOptions } from '../../server/training/search.js';
import { FramePack } from '../../server/dataset/frame-pack.js';
import type { TrainingSet } from '../../server/training/training-set.js';
import { packageFolder } from '../../server/version.js';
import { ownChildren } from './measure.js';

/** Debian's PyTorch belongs to its own python3, whatever another one of that name has. */
const interpreters = ['python3', '/usr/bin/python3'];

/** The python3 that has PyTorch; undefined where none has. */
export const torchInterpreter = (): string | undefined =>
  interpreters.find((name) => spawnSync(name, ['-c', 'import torch, numpy'], { stdio: 'ignore' }).status === 0);

export interface TorchAnswer {
  readonly seconds: number;
  readonly accuracy: number;
  readonly correct: number;
}

function layerOf(layer: NetworkLayer, sparsity: number, weights: string, healthy: string) {
  const { neuron } = layer;
  const isConvolution = layer.type === 'convolution';
  return {
    type: layer.type, weights, healthy, sparsity, slope: neuron.negativeSlope, leak: neuron.type === 'lif' ? neuron.leak : 1,
    threshold: neuron.type === 'lif' ? neuron.threshold : null, stride: isConvolution ? layer.stride : 1, padding: isConvolution ? layer.padding : 0,
    pool: isConvolution ? (layer.pool?.size ?? 1) : 1,
  };
}

export class TorchSearch {
  private readonly folder = mkdtempSync(join(tmpdir(), 'prime-hil-torch-'));
  private readonly child: ChildProcessByStdio<Writable, Readable, null>;
  private readonly lines: AsyncIterator<string>;

  private constructor(interpreter: string) {
    const program = join(packageFolder(), 'test', 'bench', 'torch-search.py');
    const environment = { ...process.env, OMP_WAIT_POLICY: 'passive' };
    this.child = spawn(interpreter, [program], { stdio: ['pipe', 'pipe', 'inherit'], env: environment });
    if (this.child.pid !== undefined) ownChildren.push(this.child.pid);
    this.lines = createInterface({ input: this.child.stdout })[Symbol.asyncIterator]();
  }

  static async start(
    interpreter: string, network: Network, devices: readonly LayerDevices[], options: SearchOptions, set: TrainingSet, recordings: Uint32Array, threads: number,
  ): Promise<TorchSearch> {
    const search = new TorchSearch(interpreter);
    const layers = network.layers.map((layer, index) => {
      const weights = devices[index].differences.map((difference) => difference * network.weightScale);
      return layerOf(layer, options.sparsities[index], search.keep(`weights${index}`, writeNpy(weights, weightShape(layer))),
        search.keep(`healthy${index}`, writeNpy(devices[index].isHealthy, weightShape(layer))));
    });
    const { seed, epochs, batchSize, learningRate, weightDecay } = options;
    await search.ask({ layers, threads, seed, epochs, batchSize, learningRate, weightDecay, ...search.keepRecordings('learn', network, set, recordings) });
    return search;
  }

  epoch(): Promise<TorchAnswer> {
    return this.ask({ task: 'epoch' }) as Promise<TorchAnswer>;
  }

  test(network: Network, set: TrainingSet, recordings: Uint32Array): Promise<TorchAnswer> {
    return this.ask({ task: 'test', ...this.keepRecordings('test', network, set, recordings) }) as Promise<TorchAnswer>;
  }

  async close(): Promise<void> {
    this.child.kill();
    rmSync(this.folder, { recursive: true, force: true });
  }

  private async ask(question: object): Promise<unknown> {
    this.child.stdin.write(`${JSON.stringify(question)}\n`);
    const { value, done } = await this.lines.next();
    if (done === true) throw new Error('PyTorch has ended');
    return JSON.parse(value);
  }

  private keep(name: string, npy: Uint8Array): string {
    const path = join(this.folder, `${name}.npy`);
    writeFileSync(path, npy);
    return path;
  }

  private keepRecordings(name: string, { timestepCount, input: { channels, height, width } }: Network, set: TrainingSet, recordings: Uint32Array) {
    const pack = new FramePack(set.frames);
    const { frameBytes } = pack;
    const frames = new Uint8Array(recordings.length * frameBytes);
    recordings.forEach((index, at) => { pack.frames(index, frames.subarray(at * frameBytes, (at + 1) * frameBytes)); });
    const labels = recordings.map((index) => set.labels[index]);
    return {
      frames: this.keep(`${name}-frames`, writeNpy(frames, [recordings.length, timestepCount, channels, height, width])),
      labels: this.keep(`${name}-labels`, writeNpy(Uint8Array.from(labels), [recordings.length])),
    };
  }
}
