import type { Device, HelloAck, WearCounts } from '../../driver/index.js';
import type { PulseBudget } from './planned-pulses.js';
import type { WearLedger } from '../store/wear-ledger.js';

/** Brings what boards have counted into the ledger. */
export class WearMeter {
  readonly #lastReadings = new WeakMap<Device, Promise<unknown>>();

  /** @param pulsesPerUser that one user may give to one chip, in all their jobs; undefined: any number */
  constructor(readonly ledger: WearLedger, private readonly pulsesPerUser?: number) {}

  /** What a user may still give to a chip. @param user null: whoever does not say, who count as one */
  budgetOf(chipId: string, user: string | null): PulseBudget | undefined {
    const { pulsesPerUser } = this;
    if (pulsesPerUser === undefined) return undefined;
    const theirs = this.ledger.shares(chipId).filter(({ owner }) => owner !== null && owner.user === user);
    const left = pulsesPerUser - theirs.reduce((sum, { pulses: { forming, set, reset } }) => sum + forming + set + reset, 0);
    const name = user === null ? 'jobs without a user' : `user "${user}"`;
    return { field: 'pulsesPerUser', left, means: `${name} may give ${pulsesPerUser} to this chip, of which ${Math.max(0, left)} are left` };
  }

  /**
   * The wear of a chip as its board counts it now; of a board that does not count, as the ledger has it.
   * @param hasEnded whether the job that pulsed the chip has given all its pulses
   */
  read(device: Device, { chipId, capabilities }: HelloAck, hasEnded: boolean): Promise<WearCounts> {
    if (!capabilities.includes('ReadWear')) return Promise.resolve(this.ledger.counts(chipId));
    // One after the other: an older count that is booked behind a newer one would look like a board that lost its memory.
    const before = this.#lastReadings.get(device) ?? Promise.resolve();
    const reading = before.catch(() => undefined).then(async () => {
      this.ledger.update(chipId, await device.readWear(), hasEnded);
      return this.ledger.counts(chipId);
    });
    this.#lastReadings.set(device, reading);
    return reading;
  }
}
