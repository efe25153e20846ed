// The one door of the driver: everything that the server may use of it.
import type { ByteChannel } from '../firmware-protocol/byte-channel.js';
import { type Address, formatAddress, frameTimeMicrosecondsOf } from './address.js';
import { Device, type DeviceOptions } from './device.js';
import { connectSerial } from './transport-serial.js';
import { connectTcp } from './transport-tcp.js';

export { type Address, formatAddress, frameTimeMicrosecondsOf, parseAddress } from './address.js';
export type { FormRequest, FormResult, ProgramCellsRequest, ProgramResult, SetResult, SweepRequest, SweepResult } from './array-request.js';
export { CaptureReader, captureHeader, type CaptureFault, type CaptureRecord, encodeCaptureRecord } from './capture.js';
export { CaptureDecoder, type CaptureEvent, RawDecoder } from './capture-decoder.js';
export { capturedChannel, type CapturedLine, type CaptureSink } from './captured-channel.js';
export { junitOf } from './conformance/junit.js';
export { describeBoard, describeResult, describeTotals, type ItemResult, type Report, totalsOf } from './conformance/report.js';
export { chooseItems, conformanceItems, type ConformanceOptions, runConformance } from './conformance/suite.js';
export { parseVectors } from './conformance/vectors.js';
export { Device, type DeviceEvent, type DeviceState, type DeviceStatistics } from './device.js';
export { checkStaircase, checkSweep, hostEnvelope, isTemperate, type ResetPulse, stairCount, strictestEnvelope, totalMicroamperes } from './envelope.js';
export { bitmapOf, parseRegion, wholeArray } from './region.js';
export { MemoryRequestLog, type LoggedRequest, type RequestLog } from './request-log.js';
export type { Subscription, SubscriptionOptions, TelemetryAccount } from './subscription.js';
export type { WearCounts } from './wear.js';
export { pulseKinds } from '../proto/message.js';
export type {
  Arithmetic, ArithmeticResult, CellOutcome, CellProgress, Converter, Envelope, Geometry, HelloAck, LayerCounts, MultiplyResult, Program, Pulse,
  PulseKind, PulseLimits, Region, ResetCellsResult, RunResult, Snapshot, Staircase, Status, Telemetry, TimestepResult,
} from '../proto/message.js';

/** Opens the line to an address, once. */
export function connectTo(address: Address): Promise<ByteChannel> {
  return address.kind === 'tcp' ? connectTcp(address.host, address.port) : connectSerial(address.path, address.baud);
}

/** A device at an address. It connects, and reconnects, by itself; `whenReady` says when it is there. */
export function openDevice(options: { address: Address } & Omit<DeviceOptions, 'connect' | 'name' | 'frameTimeMicroseconds'>): Device {
  const { address, ...rest } = options;
  return new Device({ ...rest, name: formatAddress(address), frameTimeMicroseconds: frameTimeMicrosecondsOf(address), connect: () => connectTo(address) });
}
