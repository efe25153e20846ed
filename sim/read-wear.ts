import { bitLineCount, cellCount } from '../firmware-protocol/limits.js';
import { voltageStepCount, voltageStepMillivolts, voltageStepOf } from '../proto/voltage-step.js';
import type { Chip } from './chip.js';
import { type Bench, Refusal, type Task } from './task.js';

/** How long a bit line was driven at the voltages of a step: for pulses, and, where the read voltage is one of them, for reads. */
function nanosecondsAt({ pulsedNanoseconds, drivenNanoseconds, profile }: Chip, line: number, step: number): bigint {
  const reads = step === voltageStepOf(profile.readVoltageMillivolts) ? drivenNanoseconds[line] : 0;
  return BigInt(Math.round(pulsedNanoseconds[line * voltageStepCount + step] + reads));
}

/** The board's own count of every pulse, and of how long its bit lines were driven at which voltage. */
export function* readWear({ chip, macro, bulk }: Bench): Task<'readWear'> {
  macro.settleDrives();
  const countBytes = 2 * cellCount;
  const bytes = new Uint8Array(3 * countBytes + 8 * bitLineCount * voltageStepCount);
  const view = new DataView(bytes.buffer);
  for (let cell = 0; cell < cellCount; cell += 1) {
    const { formingCounts, setCounts, pulseCounts } = chip;
    view.setUint16(2 * cell, formingCounts[cell], true);
    view.setUint16(countBytes + 2 * cell, setCounts[cell], true);
    view.setUint16(2 * countBytes + 2 * cell, pulseCounts[cell] - formingCounts[cell] - setCounts[cell], true);
  }
  for (let line = 0, at = 3 * countBytes; line < bitLineCount; line += 1) {
    for (let step = 0; step < voltageStepCount; step += 1, at += 8) view.setBigUint64(at, nanosecondsAt(chip, line, step), true);
  }
  const sha256 = bulk.put(bytes);
  if (sha256 === undefined) return new Refusal('BULK_TOO_LARGE', `${bytes.length} bytes of counts are larger than the store`);
  return { sha256, sizeBytes: bytes.length, pulses: chip.pulses, voltageStepMillivolts, voltageSteps: voltageStepCount };
}
