// The messages of macro/v1 as plain types. A field that the sender left out reads as its default; a message that it left out is undefined or null.
import type { Scale } from '../firmware-protocol/numerics/index.js';

export type { Scale };

export interface Hello {
  protocolMinimum: number;
  protocolMaximum: number;
  hostVersion: string;
  windowFrames: number;
  creditBytes: number;
  leaseEpoch: number;
  capabilities: string[];
  /** 0: as the board likes. */
  deadManMilliseconds: number;
}

export interface Geometry { bitLines: number; sourceLines: number; cellUnitNanosiemens: number }
export interface DeviceLimits { messageBytes: number; bulkBytes: number; programs: number; journalEntries: number; requestsInFlight: number }
export interface ConverterRange { name: string; stepNumeratorNanosiemens: number; stepDenominator: number }
/** `channels`: source line s is converted by channel s modulo this; 0 or absent: not stated. */
export interface Converter { bits: number; signedCodes: boolean; differential: boolean; ranges: ConverterRange[]; channels?: number }

export const resetReasons = ['power-on', 'requested', 'watchdog', 'brown-out'] as const;

/** What the board lets through to a cell, whatever a host asks for. */
export interface PulseLimits {
  amplitudeMaximumMillivolts: number; widthMaximumNanoseconds: number; complianceMaximumMicroamperes: number; pulsesPerCell: number; cellsAtOnce: number;
  /** No pulse below it moves a cell; 0: not stated. */
  movesFromMillivolts: number;
  /** Of all cells that one pulse reaches, together. */
  totalCurrentMaximumMicroamperes: number;
}
export const pulseKinds = ['forming', 'set', 'reset'] as const;
export type PulseKind = (typeof pulseKinds)[number];
/** Between which no pulse is refused for the temperature of the chip. */
export interface TemperatureLimits { minimumCelsius: number; maximumCelsius: number }
export type Envelope = Record<PulseKind, PulseLimits> & { temperature?: TemperatureLimits | null };
/** What a board tells of the temperature of its chip; null or absent where it measures none. */
export interface Temperature { temperatureCelsius?: number | null }

export interface HelloAck extends Temperature {
  protocol: number;
  chipId: string;
  bootId: Uint8Array;
  bootCount: number;
  /** Index into `resetReasons`. */
  resetReason: number;
  firmwareVersion: string;
  windowFrames: number;
  creditBytes: number;
  capabilities: string[];
  geometry: Geometry;
  limits: DeviceLimits;
  arrayState: Uint8Array;
  converter: Converter;
  leaseEpoch: number;
  profile: string;
  linkTimeMicroseconds: number;
  /** The range of the board; both 0 where it knows protocol 1 only. */
  protocolMinimum: number;
  protocolMaximum: number;
  deadManMilliseconds: number;
  /** From protocol 3 on. */
  envelope?: Envelope | null;
}

/** In the order of their numbers on the wire. */
export const logLevels = ['debug', 'info', 'warning', 'error'] as const;
export interface LogRecord { sequence: number; linkTimeMicroseconds: number; level: number; text: string; dropped: number }

export interface Region { firstBitLine: number; bitLines: number; firstSourceLine: number; sourceLines: number }
export interface Drive { position: number; plane: number; lines: Uint8Array }
/** `rule`: its number, see `stopRules`. `thresholdsQ24`: one a timestep, or none: then `thresholdQ24` is for all. */
export interface EarlyStop { thresholdQ24: number; confidence: Scale; rule: number; thresholdsQ24: number[] }

/** In the order of their numbers on the wire. */
export const streams = ['status', 'timestep', 'link'] as const;
export const policies = ['off', 'lossless', 'latest', 'decimate'] as const;
export type Stream = (typeof streams)[number];
export type Policy = (typeof policies)[number];

/** The board's own numerics on numbers of the host; one of them is set. */
export interface ArithmeticOperations {
  scale: { by: Scale; values: number[] };
  convert: { gainQ20: number; offset: number; sums: number[]; noise_256: number[] };
  neuron: { neuron: Neuron; membranes: number[]; spikes: Uint8Array; currents: number[] };
  gate: { confidence: Scale; outputs: number; membranes: number[]; rule: number };
}
export type Arithmetic = { [Name in keyof ArithmeticOperations]?: ArithmeticOperations[Name] | null };

/** `complianceMicroamperes` is what the word line lets through; 0 for a RESET: not limited. */
export interface Pulse { amplitudeMillivolts: number; widthNanoseconds: number; complianceMicroamperes: number }
/** Amplitudes from that of `first` on, by equal steps, up to and including `lastMillivolts`. */
export interface Staircase { first: Pulse; stepMillivolts: number; lastMillivolts: number }

/** One polarity of a sweep: up to the last amplitude, and down again unless it forms. A step of `countedFromMillivolts` or more is a pulse. */
export interface SweepBranch { lastMillivolts: number; complianceMicroamperes: number; countedFromMillivolts: number }

/** In the order of their numbers on the wire. */
export const cellOutcomes = ['not-selected', 'unformed', 'formed', 'over-formed', 'was-formed', 'inside', 'too-low', 'too-high'] as const;
export type CellOutcome = (typeof cellOutcomes)[number];

/** What each method takes. */
export interface MethodRequests {
  noOperation: Record<string, never>;
  getStatus: Record<string, never>;
  scratch: { add: number };
  bulkOffer: { sha256: Uint8Array; sizeBytes: number };
  bulkCommit: { sha256: Uint8Array };
  bulkFetch: { sha256: Uint8Array; offsetBytes: number };
  loadProgram: { sha256: Uint8Array };
  loadSnapshot: { sha256: Uint8Array };
  runNetwork: { programSha256: Uint8Array; framesSha256: Uint8Array; inferenceNumber: number; earlyStop?: EarlyStop };
  multiply: {
    firstBitLine: number; bitLineCount: number; sourceLines: number[]; range: number; inferenceNumber: number; timestep: number; tile: number;
    drives: Drive[];
  };
  readCells: { region: Region; averages: number };
  resetCells: { cellsSha256: Uint8Array; amplitudeMillivolts: number; widthNanoseconds: number };
  subscribe: { stream: number; policy: number; decimation: number; intervalMilliseconds: number };
  arithmetic: Arithmetic;
  restart: Record<string, never>;
  formCells: { cellsSha256: Uint8Array; staircase: Staircase; targetCells: number; formedCode: number; overFormedCode: number };
  setCells: { cellsSha256: Uint8Array; pulse: Pulse };
  programCells: { windowsSha256: Uint8Array; reset?: Staircase | null; set?: Staircase | null; pulsesPerCell: number; averages: number };
  readWear: Record<string, never>;
  sweepCell: { bitLine: number; sourceLine: number; stepMillivolts: number; dwellNanoseconds: number; cycles: number } & SweepBranches;
}

export type SweepBranches = { readonly [Kind in PulseKind]?: SweepBranch | null };

export interface BulkState { sha256: Uint8Array; offsetBytes: number; sizeBytes: number; committed: boolean }
export interface Status extends Temperature {
  bootId: Uint8Array; arrayState: Uint8Array; arrayEpoch: number; operationNanoseconds: number; scratchCount: number; pulses: number;
  stopped: boolean; leaseEpoch: number;
}
export interface RunResult { timesteps: number; stoppedEarly: boolean; prediction: number; operationNanoseconds: number; energyFemtojoules: number }
export interface MultiplyResult { codes: Uint8Array; saturations: number; operationNanoseconds: number; energyFemtojoules: number }
export interface ReadCellsResult { sha256: Uint8Array; sizeBytes: number; saturatedCells: number; operationNanoseconds: number }
export interface ArithmeticResult { values: number[]; membranes: number[]; spikes: Uint8Array; confidenceQ24: number[]; prediction: number }
export interface ResetCellsResult { pulses: number; cells: number; arrayState: Uint8Array; operationNanoseconds: number }

export interface FormCellsResult {
  outcomesSha256: Uint8Array; sizeBytes: number; pulses: number; formedCells: number; overFormedCells: number; lastMillivolts: number;
  arrayState: Uint8Array; operationNanoseconds: number; energyFemtojoules: number;
}
export interface SetCellsResult { pulses: number; arrayState: Uint8Array; operationNanoseconds: number; energyFemtojoules: number }
export interface ProgramCellsResult {
  outcomesSha256: Uint8Array; sizeBytes: number; resetPulses: number; setPulses: number; insideCells: number; stubbornCells: number;
  arrayState: Uint8Array; operationNanoseconds: number; energyFemtojoules: number;
}
export interface ReadWearResult { sha256: Uint8Array; sizeBytes: number; pulses: number; voltageStepMillivolts: number; voltageSteps: number }
/** `resolutionPicoamperes`: the current that one step of the converter stands for. */
export interface CurrentRange { fullScaleNanoamperes: number; resolutionPicoamperes: number }
export interface SweepCellResult {
  pointsSha256: Uint8Array; sizeBytes: number; ranges: CurrentRange[]; formingPulses: number; setPulses: number; resetPulses: number; finalCode: number;
  arrayState: Uint8Array; operationNanoseconds: number; energyFemtojoules: number;
}

/** What each method answers. */
export interface MethodResults {
  noOperation: { linkTimeMicroseconds: number };
  getStatus: Status;
  scratch: { count: number };
  bulkOffer: BulkState;
  bulkCommit: BulkState;
  bulkFetch: BulkState;
  loadProgram: { sha256: Uint8Array };
  loadSnapshot: { arrayState: Uint8Array; pairs: number };
  runNetwork: RunResult;
  multiply: MultiplyResult;
  readCells: ReadCellsResult;
  resetCells: ResetCellsResult;
  subscribe: { stream: number; policy: number };
  arithmetic: Partial<ArithmeticResult>;
  restart: Record<string, never>;
  formCells: FormCellsResult;
  setCells: SetCellsResult;
  programCells: ProgramCellsResult;
  readWear: ReadWearResult;
  sweepCell: SweepCellResult;
}

export type MethodName = keyof MethodRequests;

export type Request = {
  requestId: Uint8Array;
  deadlineMicroseconds: number;
  leaseEpoch: number;
  /** Name of the method that is set; undefined where the device knows none of those sent. */
  method?: MethodName;
} & { [Name in MethodName]?: MethodRequests[Name] | null };

export interface LayerCounts { conversions: number; saturations: number; spikes: number }
export interface TimestepResult { timestep: number; membranes: number[]; layers: LayerCounts[]; confidenceQ24: number }
export interface CellProgress { done: number; total: number; pulses: number; amplitudeMillivolts: number }
export interface Failure { code: string; detail: string; outcome: number }
export interface BulkChunk { sha256: Uint8Array; offsetBytes: number; data: Uint8Array }

export interface Progress { requestId: Uint8Array; timestep?: TimestepResult | null; cells?: CellProgress | null }

export type Final = {
  requestId: Uint8Array;
  repeatedFromJournal: boolean;
  result?: MethodName | 'failure';
  failure?: Failure | null;
} & { [Name in MethodName]?: MethodResults[Name] | null };

export interface LinkReport {
  framesSent: number; framesReceived: number; retransmissions: number; duplicates: number; discardedChecksum: number; discardedCobs: number;
  discardedLength: number; discardedKind: number; roundTripMicroseconds: number; queuedBytes: number;
}
export interface Telemetry {
  stream: number; sequence: number; linkTimeMicroseconds: number; dropped: number; status?: Status | null; timestep?: TimestepResult | null;
  link?: LinkReport | null;
}

export interface HostMessage { request?: Request | null; cancel?: { requestId: Uint8Array } | null; bulkChunk?: BulkChunk | null }
export interface DeviceMessage {
  accepted?: { requestId: Uint8Array } | null;
  progress?: Progress | null;
  final?: Final | null;
  bulkChunk?: BulkChunk | null;
  telemetry?: Telemetry | null;
}

export const layerKinds = { convolution: 0, linear: 1 } as const;
export const neuronKinds = { lif: 0, accumulate: 1 } as const;

export interface Neuron { kind: number; threshold: number; leak: Scale; negativeSlope: Scale }
export interface Tile { firstInput: number; inputCount: number; firstBitLine: number; plusLines: number[]; minusLines: number[] }
export interface Layer {
  name: string; kind: number; inputChannels: number; inputHeight: number; inputWidth: number; outputChannels: number; outputHeight: number;
  outputWidth: number; kernel: number; stride: number; padding: number; driveBits: number; range: number; current: Scale; neuron: Neuron;
  poolSize: number; tiles: Tile[];
}
export interface Program { timestepCount: number; inputChannels: number; inputHeight: number; inputWidth: number; layers: Layer[] }

export interface SnapshotTile {
  firstBitLine: number; plusLines: number[]; minusLines: number[]; differenceNanosiemens: number[]; kept: Uint8Array;
}
export interface Snapshot { tiles: SnapshotTile[] }
