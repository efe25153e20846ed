import { filmDigit } from '../dataset/camera.js';
import { binEvents } from '../dataset/frames.js';
import { digitOf, readMnist } from '../dataset/mnist.js';
import type { Recording } from '../dataset/recording.js';
import { demonstrationCamera } from './demonstration-camera.js';
import type { LabelledFrames } from './training-set.js';

/** Camera seeds of the two sets lie apart, so that no film of a test digit shares its noise with one of a train digit. */
const cameraSeeds = { train: 0x1000_0000, test: 0x2000_0000 } as const;

/** The film of one MNIST digit. A function of the set and the index. */
export function filmedDigit(which: 'train' | 'test', index: number): Recording & { readonly label: number } {
  const digits = mnist(which);
  const label = digits.labels[index];
  const options = { seed: cameraSeeds[which] + index, name: `${which}/${label}/${index}.bin`, label, camera: demonstrationCamera };
  return { ...filmDigit(digitOf(digits, index), options), label };
}

const loaded = new Map<'train' | 'test', ReturnType<typeof readMnist>>();

function mnist(which: 'train' | 'test') {
  const known = loaded.get(which) ?? readMnist(which);
  loaded.set(which, known);
  return known;
}

/** The film of one digit, its events counted into timesteps of equal number. */
export function filmedFramesOf(which: 'train' | 'test', index: number, timestepCount: number): LabelledFrames {
  const recording = filmedDigit(which, index);
  return { codes: binEvents(recording, timestepCount, 'number').codes, label: recording.label };
}
