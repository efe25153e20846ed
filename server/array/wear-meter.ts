import type { Device, HelloAck, WearCounts } from '../../driver/index.js';
import type { WearLedger } from '../store/wear-ledger.js';

/** Brings what boards have counted into the ledger. */
export class WearMeter {
  readonly #lastReadings = new WeakMap<Device, Promise<unknown>>();

  constructor(readonly ledger: WearLedger) {}

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
