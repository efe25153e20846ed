// A simulated board at a TCP address inside the test process, with a cable that can be pulled out and a reset button.
import { createHash } from 'node:crypto';
import type { ByteChannel } from '../firmware-protocol/byte-channel.js';
import type { Prng } from '../firmware-protocol/prng.js';
import { systemClock } from '../server/system-clock.js';
import { Board } from '../sim/board.js';
import { Chip } from '../sim/chip.js';
import type { Firmware } from '../sim/firmware.js';
import { listenTcp } from '../sim/process/listen-tcp.js';
import { overrideProfile, profileNamed } from '../sim/profile.js';

/** A small generator (Marsaglia's xorshift32): boot ids must differ, and runs repeat. */
export function countingPrng(seed: number): Prng {
  let state = seed | 1;
  return {
    nextUint32() {
      state ^= state << 13;
      state ^= state >>> 17;
      state ^= state << 5;
      return state >>> 0;
    },
  };
}

type Listener = Awaited<ReturnType<typeof listenTcp>>;

export class TcpBoard {
  readonly chip: Chip;
  readonly address: string;
  readonly #board: Board;
  readonly #channels = new Set<ByteChannel>();
  #listener: Listener;

  private constructor(chip: Chip, listener: Listener, board: Board, channels: Set<ByteChannel>) {
    this.chip = chip;
    this.address = listener.address;
    this.#listener = listener;
    this.#board = board;
    this.#channels = channels;
  }

  static start(profileName: string, seed = 1, overrides: object = {}, state: 'formed' | 'pristine' = 'formed'): Promise<TcpBoard> {
    return TcpBoard.with(Chip[state](overrideProfile(profileNamed(profileName), overrides), seed));
  }

  static async with(chip: Chip, firmware?: Firmware): Promise<TcpBoard> {
    const sha256 = (bytes: Uint8Array) => new Uint8Array(createHash('sha256').update(bytes).digest());
    const board = new Board({ chip, clock: systemClock, prng: countingPrng(chip.seed), sha256, ...(firmware && { firmware }) });
    const channels = new Set<ByteChannel>();
    const listener = await listenTcp('127.0.0.1', 0, (channel) => {
      channels.add(channel);
      board.attach(channel);
    });
    return new TcpBoard(chip, listener, board, channels);
  }

  /** Pulls the cable: the line breaks and nobody listens. */
  unplug(): void {
    this.#listener.close();
    for (const channel of this.#channels) channel.close();
    this.#channels.clear();
  }

  /** Puts the cable back, to the same address. */
  async plug(): Promise<void> {
    const port = Number(this.address.split(':').at(-1));
    this.#listener = await listenTcp('127.0.0.1', port, (channel) => {
      this.#channels.add(channel);
      this.#board.attach(channel);
    });
  }

  /** Power off and on: everything but the cells is forgotten, and the line breaks for a moment. */
  async powerCycle(): Promise<void> {
    this.unplug();
    this.#board.restart();
    await this.plug();
  }

  close(): void {
    this.unplug();
    this.#board.close();
  }
}
