import {
  bitLineCount, maximumBulkBytes, maximumJournalEntries, maximumPayloadBytes, maximumRequestsInFlight, maximumWindowFrames, sourceLineCount,
} from '../firmware-protocol/limits.js';
import { helloAckCodec } from '../proto/codec.js';
import type { HelloAck } from '../proto/message.js';
import type { Chip } from './chip.js';
import { envelopeOf } from './envelope.js';
import type { Firmware } from './firmware.js';
import type { Macro } from './macro.js';

/** Bytes that the board can take beyond what it has acknowledged. */
export const creditBytes = 60_000;
const programs = 4;

/** What changes from boot to boot and from session to session. */
export type Circumstances = Pick<
  HelloAck, 'protocol' | 'bootId' | 'bootCount' | 'resetReason' | 'arrayState' | 'leaseEpoch' | 'linkTimeMicroseconds' | 'deadManMilliseconds'
>;

/** Who the board is and what it can do, as the payload of HELLO_ACK. */
export function encodeHelloAck({ version, capabilities, unknownFields, protocol }: Firmware, chip: Chip, macro: Macro, now: Circumstances): Uint8Array {
  const { profile } = chip;
  // A board of protocol 1 does not know the fields that protocol 2 added.
  const isFirst = protocol.maximum === 1;
  const known = helloAckCodec.encode({
    ...now,
    chipId: chip.chipId,
    firmwareVersion: version,
    windowFrames: maximumWindowFrames,
    creditBytes,
    capabilities: [...capabilities],
    geometry: { bitLines: bitLineCount, sourceLines: sourceLineCount, cellUnitNanosiemens: profile.cellUnitNanosiemens },
    limits: {
      messageBytes: maximumPayloadBytes, bulkBytes: maximumBulkBytes, programs, journalEntries: maximumJournalEntries,
      requestsInFlight: maximumRequestsInFlight,
    },
    converter: {
      bits: profile.converterBits, signedCodes: false, differential: false, ranges: [...macro.ranges],
      ...(protocol.maximum > 2 && { channels: profile.parallelConverters }),
    },
    profile: profile.name,
    ...(protocol.maximum > 2 && { envelope: envelopeOf(profile), temperatureCelsius: profile.temperatureCelsius }),
    protocolMinimum: isFirst ? 0 : protocol.minimum,
    protocolMaximum: isFirst ? 0 : protocol.maximum,
  });
  return unknownFields === undefined ? known : Uint8Array.of(...known, ...unknownFields);
}
