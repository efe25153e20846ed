// The one door of the driver: everything that the server may use of it.
import type { ByteChannel } from '../firmware-protocol/byte-channel.js';
import { type Address, formatAddress } from './address.js';
import { Device, type DeviceOptions } from './device.js';
import { connectSerial } from './transport-serial.js';
import { connectTcp } from './transport-tcp.js';

export { type Address, formatAddress, parseAddress } from './address.js';
export { Device, type DeviceEvent, type DeviceState, type DeviceStatistics } from './device.js';
export { MemoryRequestLog, type LoggedRequest, type RequestLog } from './request-log.js';
export type { Subscription, SubscriptionOptions, TelemetryAccount } from './subscription.js';
export { type ResetPulse, resetEnvelope } from './envelope.js';
export type {
  Arithmetic, ArithmeticResult, Converter, EarlyStop, Geometry, HelloAck, LayerCounts, MultiplyResult, Program, Region, ResetCellsResult, RunResult,
  Snapshot, Status, Telemetry, TimestepResult,
} from '../proto/message.js';

/** Bits of the longest frame on a serial line, 10 a byte. */
const frameBits = 6_500;

/** Opens the line to an address, once. */
export function connectTo(address: Address): Promise<ByteChannel> {
  return address.kind === 'tcp' ? connectTcp(address.host, address.port) : connectSerial(address.path, address.baud);
}

/** A device at an address. It connects, and reconnects, by itself; `whenReady` says when it is there. */
export function openDevice(options: { address: Address } & Omit<DeviceOptions, 'connect' | 'name' | 'frameTimeMicroseconds'>): Device {
  const { address, ...rest } = options;
  const frameTimeMicroseconds = address.kind === 'serial' ? Math.ceil((frameBits * 1e6) / address.baud) : 0;
  return new Device({ ...rest, name: formatAddress(address), frameTimeMicroseconds, connect: () => connectTo(address) });
}
