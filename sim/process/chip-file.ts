import { closeSync, existsSync, fdatasyncSync, fsyncSync, openSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { dirname } from 'node:path';
import { crc32c } from '../../firmware-protocol/crc32c.js';
import { MacroError } from '../../proto/error.js';
import { lockPath } from '../../proto/process/path-lock.js';
import { Chip } from '../chip.js';
import type { Profile } from '../profile.js';

/** Of a block: the length of its bytes and their checksum, u32 little-endian. */
const blockHeadBytes = 8;
/** A simulator whose service was killed ends by itself, but not before the service can be there again. */
const lockPatienceMilliseconds = 2000;
/** Changes that are kept beside a chip before it is written anew: the forming of a whole array writes it a dozen times, not a thousand. */
const usualChangesBytesMaximum = 64 * 2 ** 20;

function blockOf(bytes: Uint8Array): Uint8Array {
  const block = new Uint8Array(blockHeadBytes + bytes.length);
  const view = new DataView(block.buffer);
  view.setUint32(0, bytes.length, true);
  view.setUint32(4, crc32c(bytes), true);
  block.set(bytes, blockHeadBytes);
  return block;
}

/** The blocks of a file, up to one that was not written to its end: what it would have told nobody has heard of. */
function* blocksOf(file: Uint8Array): Generator<Uint8Array> {
  const view = new DataView(file.buffer, file.byteOffset, file.byteLength);
  for (let at = 0; at + blockHeadBytes <= file.length; ) {
    const end = at + blockHeadBytes + view.getUint32(at, true);
    if (end > file.length || crc32c(file, at + blockHeadBytes, end) !== view.getUint32(at + 4, true)) return;
    yield file.subarray(at + blockHeadBytes, end);
    at = end;
  }
}

/**
 * Takes the file of a chip for this process alone: two that append to it would each lose what the other did to the chip.
 * @returns what gives it back
 * @throws MacroError CHIP_LOCKED, naming the holder
 */
export function lockChipFile(path: string): () => void {
  return lockPath(path, lockPatienceMilliseconds, (holder) => new MacroError('CHIP_LOCKED', `process ${holder} holds ${path}`, { field: 'chip' }));
}

/** Reads a chip that was saved; undefined where there is no file yet. @throws MacroError BAD_PROFILE where the file is another chip's or none */
export function readChipFile(path: string, profile: Profile, seed: number): Chip | undefined {
  if (!existsSync(path)) return undefined;
  const [whole, ...changes] = blocksOf(readFileSync(path));
  const chip = whole && Chip.deserialise(whole, profile);
  if (chip === undefined) throw new MacroError('BAD_PROFILE', `${path} is no chip file of this version`, { field: 'chip' });
  if (chip.seed !== seed) throw new MacroError('BAD_PROFILE', `${path} holds chip ${chip.seed}, not ${seed}`, { field: 'seed' });
  chip.replay(changes);
  return chip;
}

/** Puts a file on disk so that it is there whole, or as it was before, whatever happens: written beside, synced, renamed, folder synced. */
function replaceFile(path: string, bytes: Uint8Array): void {
  const beside = `${path}.tmp`;
  writeFileSync(beside, bytes, { flush: true });
  renameSync(beside, path);
  const folder = openSync(dirname(path), 'r');
  try {
    fsyncSync(folder);
  } finally {
    closeSync(folder);
  }
}

/**
 * Silicon remembers every pulse, whatever becomes of the process that simulates it. The file is the whole chip as one block, and behind it a block for
 * each step that did something to the chip, written before anybody hears of that step.
 */
export class ChipFile {
  /** Absent: the chip has to be written whole before more can be appended. */
  private file: number | undefined;
  private changesBytes = 0;

  constructor(private readonly path: string, chip: Chip, private readonly changesBytesMaximum = usualChangesBytesMaximum) {
    this.replace(chip);
  }

  /** What was done to the chip outlasts this process. */
  note(chip: Chip): void {
    const changes = chip.takeChanges();
    if (this.file === undefined || this.changesBytes > this.changesBytesMaximum) this.replace(chip);
    else if (changes !== undefined) this.append(this.file, blockOf(changes));
  }

  /** What was done to the chip outlasts a power cut. */
  persist(chip: Chip): void {
    this.note(chip);
    if (this.file !== undefined) fdatasyncSync(this.file);
  }

  private append(file: number, block: Uint8Array): void {
    try {
      writeFileSync(file, block);
    } catch (error) {
      this.close(); // behind half a block nothing would be found
      throw error;
    }
    this.changesBytes += block.length;
  }

  private replace(chip: Chip): void {
    this.close();
    replaceFile(this.path, blockOf(chip.serialise()));
    chip.takeChanges(); // they are part of the whole
    this.file = openSync(this.path, 'a');
    this.changesBytes = 0;
  }

  private close(): void {
    if (this.file !== undefined) closeSync(this.file);
    this.file = undefined;
  }
}
