import { protocolVersions, type VersionRange } from '../firmware-protocol/version.js';
import { capabilityOf, methodNames, protocolOf, stopRulesCapability } from '../proto/method.js';

/** What a board runs: what it speaks and what it says that it can. */
export interface Firmware {
  readonly version: string;
  readonly protocol: VersionRange;
  /** Names of methods, and what else it can, as HELLO_ACK lists them. */
  readonly capabilities: readonly string[];
  /** Protobuf fields behind those of HELLO_ACK that are known today. */
  readonly unknownFields?: Uint8Array;
}

const methodsUpTo = (protocol: number) => methodNames.filter((method) => protocolOf(method) <= protocol).map(capabilityOf);

export const currentFirmware: Firmware = {
  version: 'sim 0.3.0', protocol: protocolVersions, capabilities: [...methodsUpTo(protocolVersions.maximum), stopRulesCapability],
};

/** A board from before protocol 2. */
export const firstFirmware: Firmware = { version: 'sim 0.1.0', protocol: { minimum: 1, maximum: 1 }, capabilities: methodsUpTo(1) };

/** A board of a time to come, with fields and capabilities that nobody here has heard of. */
export function laterFirmware(minimum: number): Firmware {
  // Field 100, a string; field 101, a varint; field 102, eight bytes (protobuf encoding, "unknown fields").
  const unknownFields = Uint8Array.of(0xa2, 0x06, 0x03, 0x6e, 0x65, 0x77, 0xa8, 0x06, 0x96, 0x01, 0xb1, 0x06, 1, 2, 3, 4, 5, 6, 7, 8);
  return { version: 'sim 9.0.0', protocol: { minimum, maximum: 9 }, capabilities: [...currentFirmware.capabilities, 'Levitate'], unknownFields };
}

/** By the names that `prime sim --firmware` takes: what a host may meet besides a board of its own time. */
export const firmwares = {
  current: currentFirmware,
  first: firstFirmware,
  /** Speaks what this house speaks, and more. */
  later: laterFirmware(2),
  /** Has left it behind. */
  foreign: laterFirmware(protocolVersions.maximum + 1),
} as const satisfies Readonly<Record<string, Firmware>>;
