import type { Outcome } from './outcome.js';

/** Whose fault it is: the caller's, the device's, the line's, ours; or nobody's because somebody asked to stop. */
export type ErrorCategory = 'usage' | 'device' | 'link' | 'internal' | 'cancelled';

interface ErrorEntry {
  readonly category: ErrorCategory;
  readonly httpStatus: number;
  /** What the user can do about it; printed after the message. */
  readonly remedy: string;
}

const entry = (category: ErrorCategory, httpStatus: number, remedy: string): ErrorEntry => ({ category, httpStatus, remedy });

/** Every error that a person or a program can meet. `docs/errors.md` lists the same codes; a test compares both. */
export const errorTable = {
  // Input
  BAD_REQUEST: entry('usage', 400, 'Correct the field that the message names'),
  BAD_ARGUMENT: entry('usage', 400, 'See the command with --help'),
  BAD_ADDRESS: entry('usage', 400, 'Use serial:/dev/ttyUSB0?baud=3000000, tcp://host:port or sim:PROFILE'),
  BAD_THRESHOLD: entry('usage', 400, 'Give a threshold above 0 and below 1, or --no-early-stop'),
  BAD_PROFILE: entry('usage', 400, 'Use a known profile name and only the fields that MODEL.md lists'),
  BAD_BUNDLE: entry('usage', 400, 'Mend the file that the message names; DESIGN of a bundle is in docs/bundle.md'),
  BUNDLE_CHIP_MISMATCH: entry('usage', 409, 'Use the chip that the bundle was made on, or make a bundle for this one'),
  MASK_REGROWS: entry('usage', 409, 'Choose regrow redraw (new conductances) or program (about the recorded ones), or a mask that keeps no such pair'),
  CHIP_MISMATCH: entry('device', 409, 'Check which chip sits in the socket; enrol it if it is new'),
  BAD_MODEL: entry('usage', 400, 'Mend the file or name its tensors; formats and names are in docs/networks.md'),
  UNSAFE_PICKLE: entry('usage', 400, 'Do not load this file elsewhere either; ask its author for safetensors or npz'),
  NETWORK_TOO_LARGE: entry('usage', 400, 'Use a network that fits the array of this chip'),
  INPUT_NOT_FOUND: entry('usage', 404, 'Check the path'),
  RECORDING_EMPTY: entry('usage', 400, 'Record again; a recording needs at least one event per timestep'),
  RECORDING_TRUNCATED: entry('usage', 400, 'Copy the file again; its length must be a multiple of 5 bytes'),
  RECORDING_INVALID: entry('usage', 400, 'Convert the recording to 34×34 pixels and rising time stamps'),
  RECORDING_TOO_LARGE: entry('usage', 413, 'Cut the recording; the limit is in the message'),
  BAD_DATASET: entry('usage', 400, 'Mend the file that the message names; what is read is in docs/dataset.md'),
  CAPTURE_INVALID: entry('usage', 400, 'Use a file that --capture wrote, or --raw for plain bytes; what stood before the offset was printed'),
  BAD_SNAPSHOT: entry('usage', 400, 'Mend what the message names; the formats of snapshots and maps are in docs/snapshot.md'),
  SNAPSHOT_UNKNOWN: entry('usage', 404, 'List snapshots with GET /v1/chips/CHIP/snapshots, or import one'),
  CHIP_UNKNOWN: entry('usage', 404, 'List chips with GET /v1/chips, or write a passport'),
  DATASET_UNKNOWN: entry('usage', 404, 'List datasets with GET /v1/datasets, or upload the recordings'),
  MODEL_UNKNOWN: entry('usage', 404, 'List models with GET /v1/models, or upload the bundle'),
  JOB_UNKNOWN: entry('usage', 404, 'List jobs with GET /v1/jobs'),
  DEVICE_UNKNOWN: entry('usage', 404, 'List devices with GET /v1/devices'),
  ROUTE_UNKNOWN: entry('usage', 404, 'See the routes at /docs'),
  QUEUE_FULL: entry('usage', 429, 'Wait until jobs have ended and submit again'),
  JOB_STATE_CONFLICT: entry('usage', 409, 'Look at the state of the job; its legal next states are in docs/architecture.md'),
  REQUEST_TOO_LARGE: entry('usage', 413, 'Send less at once; the limit is in the message'),
  MEDIA_UNSUPPORTED: entry('usage', 415, 'Send application/octet-stream or multipart/form-data'),
  TOKEN_REQUIRED: entry('usage', 401, 'Set PRIME_TOKEN to the same secret of at least 16 characters for service and client'),
  PORT_TAKEN: entry('usage', 409, 'Choose another with --port, or end the program that holds it'),
  SERVICE_UNREACHABLE: entry('link', 503, 'Start the service with prime serve, or give its address with --server'),
  REFERENCE_UNFIT: entry('usage', 409, 'Check position, value and wiring of the reference that the message names'),
  METER_UNREACHABLE: entry('link', 503, 'Check power, cable and address of the source meter, and that nobody else holds its connection'),
  METER_INVALID: entry('device', 502, 'Check that a source meter listens there and answers :MEASure:RESistance? with one number'),
  METER_OVERLOAD: entry('device', 409, 'Check that the reference is connected to the source meter and within its range'),
  SETUP_REQUIRED: entry('usage', 503, 'Run npm install && npm run build in the checkout'),
  SETUP_FAILED: entry('internal', 500, 'Mend what it names and run the command again'),
  STORE_LOCKED: entry('usage', 409, 'End the other service, or use --server with its address'),
  CHIP_LOCKED: entry('usage', 409, 'End the other simulator, or give this one a file of its own with --chip'),
  // Device and line
  DEVICE_UNREACHABLE: entry('link', 503, 'Check cable, power and address; raise --connect-timeout for a slow board'),
  DEVICE_LOST: entry('link', 503, 'Check the cable; the service reconnects by itself. Then submit the job again'),
  DEVICE_RESTARTED: entry('device', 503, 'Check the power of the board, then submit the job again: it reads the cells before the next pulse'),
  DEVICE_STOPPED: entry('device', 409, 'ESTOP is in force: find out why, then restart the controller'),
  DEVICE_BUSY: entry('device', 429, 'Wait until a request has ended'),
  HOST_SILENT: entry('device', 504, 'Find out why the host or the line was silent, read the cells and submit again'),
  PROTOCOL_UNSUPPORTED: entry('device', 502, 'Update the firmware or this service so that their protocol versions meet'),
  PROTOCOL_VIOLATION: entry('device', 502, 'Report it with a capture of the line: one end does not follow PROTOCOL.md'),
  METHOD_UNSUPPORTED: entry('device', 501, 'Use a device that declares this capability'),
  LEASE_STALE: entry('device', 409, 'Another owner has taken the device; take it back if you must'),
  DEADLINE_EXCEEDED: entry('device', 504, 'Raise the deadline, or find out why the device is slow'),
  REQUEST_INVALID: entry('device', 400, 'Correct the field that the message names'),
  BULK_UNKNOWN: entry('device', 404, 'Offer and commit the object before it is used'),
  BULK_DIGEST_MISMATCH: entry('device', 409, 'Send the object again'),
  BULK_TOO_LARGE: entry('device', 413, 'Send a smaller object; the limit is in HELLO_ACK'),
  PROGRAM_UNKNOWN: entry('device', 404, 'Load the program before it is run'),
  PULSE_REFUSED: entry('device', 409, 'Stay within the limits of the envelope that the message names'),
  OUTCOME_UNKNOWN: entry('device', 409, 'Read the cells, or submit the job again, which reads them first: the command may or may not have been applied'),
  // Ours
  INTERNAL_ERROR: entry('internal', 500, 'Report it with the log; nothing was changed unless the outcome says so'),
  JOB_INTERRUPTED: entry('cancelled', 409, 'Submit the job again: it reads cells and counts, and goes on where they stand'),
  SERVICE_STOPPING: entry('cancelled', 503, 'Submit again when the service is up'),
  CANCELLED: entry('cancelled', 409, 'Submit again if it was not meant'),
} as const satisfies Record<string, ErrorEntry>;

export type ErrorCode = keyof typeof errorTable;

/** Codes that say nothing of what was asked for, only that the device or its line was not there for it. */
export const deviceGoneCodes: ReadonlySet<ErrorCode> = new Set<ErrorCode>(['DEVICE_UNREACHABLE', 'DEVICE_LOST', 'DEVICE_RESTARTED', 'HOST_SILENT']);

export const isErrorCode = (code: string): code is ErrorCode => Object.hasOwn(errorTable, code);

export interface MacroErrorDetails {
  readonly outcome?: Outcome;
  /** The field of the input that is wrong, as the user wrote it. */
  readonly field?: string;
  readonly cause?: unknown;
}

/** Whatever goes wrong beyond noise on the wire and measurements. The code stands in the message, so a log line is enough. */
export class MacroError extends Error {
  override readonly name = 'MacroError';
  readonly outcome: Outcome;
  readonly field: string | undefined;

  constructor(readonly code: ErrorCode, readonly detail: string, details: MacroErrorDetails = {}) {
    super(`${code}: ${detail}. ${errorTable[code].remedy}.`, details.cause === undefined ? undefined : { cause: details.cause });
    this.outcome = details.outcome ?? 'not-applied';
    this.field = details.field;
  }

  get category(): ErrorCategory {
    return errorTable[this.code].category;
  }

  get httpStatus(): number {
    return errorTable[this.code].httpStatus;
  }

  get remedy(): string {
    return errorTable[this.code].remedy;
  }

  /** Whether it came about because the device or its line went away, whatever is known of the outcome. */
  get isDeviceGone(): boolean {
    return deviceGoneCodes.has(this.code) || (this.cause instanceof MacroError && this.cause.isDeviceGone);
  }

  /** What was thrown, as a MacroError: anything unforeseen is ours. */
  static from(error: unknown): MacroError {
    if (error instanceof MacroError) return error;
    const message = error instanceof Error ? error.message : String(error);
    return new MacroError('INTERNAL_ERROR', message, { cause: error });
  }
}
