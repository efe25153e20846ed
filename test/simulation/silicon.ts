import { Chip } from '../../sim/chip.js';
import { overrideProfile, type Profile, profileNamed } from '../../sim/profile.js';

/** Pulses that a cell of the simulation may have: few, so that the limit is met. */
export const pulsesPerCellMaximum = 3;

export const profileChoices = ['ideal', 'lab-paper'] as const;
export type ProfileChoice = (typeof profileChoices)[number];

const chipSeed = 1;
const formed = new Map<ProfileChoice, Uint8Array>();

export function profileOf(choice: ProfileChoice): Profile {
  return overrideProfile(profileNamed(choice), { resetPulsesPerCellMaximum: pulsesPerCellMaximum });
}

/** A chip as it was saved. Forming a quarter of a million cells takes longer than many runs, so that is done once a process. */
export function savedChip(choice: ProfileChoice): Uint8Array {
  const known = formed.get(choice);
  if (known !== undefined) return known;
  const bytes = Chip.formed(profileOf(choice), chipSeed).serialise();
  formed.set(choice, bytes);
  return bytes;
}

export function chipFrom(bytes: Uint8Array, choice: ProfileChoice): Chip {
  const chip = Chip.deserialise(bytes, profileOf(choice));
  if (chip === undefined) throw new Error('a saved chip cannot be read');
  return chip;
}
