// The hot path of the macro in SIMD: the same integers, to the bit, as macro.ts and network-run.ts. Doubles hold integers below 2^53 and are
// multiplied by powers of two only after that, so every result is exact or rounded once, as there. No relaxed SIMD.
//
// Lines lie in blocks of 16. Within a block, vector j lane i is line 4i + j: so word j of four random counters meets its lines where it is made.

/** The multiplies of one tile: its cells, block by block, 16 codes a row and, where there is noise, 16 variances a row after all the codes. */
@unmanaged class Tile {
  matrix: usize;
  /** From the codes of a block to its variances. */
  varianceBytes: u32;
  blockBytes: u32;
  rowCount: i32;
  lineCount: i32;
  /** Number of the tile in its program. */
  number: i32;
  /** Of each four lines, codes a unit of the sum (f64) and offsets in codes (i32). */
  lines: usize;
}

/** One layer of a network with its places in memory; kernel-layer.ts fills it in. */
@unmanaged class Layer {
  positionRows: i32;
  positionColumns: i32;
  /** From a position's window to that of the row below, and of the column beside it. */
  positionRowBytes: u32;
  positionColumnBytes: u32;
  /** Drive codes, int16, channels innermost and padded to an even number. */
  input: usize;
  /** A window is so many spans of adjacent codes. */
  spanCount: i32;
  spanLength: i32;
  spanBytes: u32;
  /** Which codes are driven, a bit each, plane by plane and row by row of the input. */
  bits: usize;
  bitRows: i32;
  bitRowBytes: u32;
  /** Codes of a row of the input, and from a position to the next one in rows and codes. */
  rowCodes: i32;
  stepRows: i32;
  stepCodes: i32;
  /** In how many bit planes each code was driven, int16, until it is read out. */
  planeCounts: usize;
  /** Above these no code of the input has a bit. */
  planesUsed: i32;
  /** Of each code of a window: its row's place in a block (u32) and its tile (u8). */
  rowOffsets: usize;
  rowTiles: usize;
  tileCount: i32;
  tiles: usize;
  driveBits: i32;
  lineCount: i32;
  /** Bit-serial layers: driven rows of each drive that waits; of more than one tile, 512 to each tile and plane, and how many there are. */
  drivenRows: usize;
  drivenCounts: usize;
  /** Drives that wait, so many bytes to each tile, and how many of each. */
  waiting: usize;
  waitingBytes: u32;
  waitingCounts: usize;
  /** Of each position that waits: where its outputs are, and the sums of its lines. */
  waitingOutputs: usize;
  sums: usize;
  sumsBytes: u32;
  /** Exact layers, otherwise 0: differences of each pair of a window's rows. */
  differences: usize;
  differenceBytes: u32;
  /** Codes of one row and column of the input that a window moves by; a linear layer's window has one column. */
  pixelCodes: i32;
  /** Driven pairs of the input, what each adds to the grids, and where those of each pixel begin, column by column. */
  inputPairs: usize;
  pairSums: usize;
  pixelPairs: usize;
  /** Driven pairs that a row of windows sees, and where those of each column begin. */
  bandPairs: usize;
  bandColumns: usize;
  /** Exact layers: sums of the codes of the driven rows of each tile and plane, for windows wherever they lie, even partly outside of the input. */
  sumGrids: usize;
  gridBytes: u32;
  gridRowBytes: u32;
  /** Where in a grid the first position is, and the way to the next one in its row. */
  gridOrigin: u32;
  gridStepBytes: u32;
  /** Of each code of a row of the input: what it adds to the grids. */
  codeSums: usize;
  tileSumsBytes: u32;
  /** Rows of a window, and its columns. */
  windowRows: i32;
  /** Bit-serial layers: where in the sums of the lines those of an output are. */
  slotOffsets: usize;
  outputs: i32;
  /** Outputs rounded up to what is summed at once: neurons lie position by position. */
  neuronStride: i32;
  /** Of all neurons; the layer's scale makes them currents. */
  sumsOfOutputs: usize;
  membranes: usize;
  /** int16, −1 where a neuron fires. */
  spikes: usize;
  threshold: i32;
  /** As Fraction. */
  leak: i32;
  leakLow: i32;
  leakHigh: i32;
  slope: i32;
  slopeLow: i32;
  slopeHigh: i32;
  /** Not 0 where a membrane might leave 32 bits. */
  saturates: i32;
  /** The layer's scale: of two factors one is 1. */
  currentMultiplier: i32;
  poolSize: i32;
  /** The first code of the layer above, 0 in the last layer. */
  output: usize;
  outputRowBytes: u32;
  outputPixelBytes: u32;
  drives: i32;
  saturations: i32;
  spikeCount: i32;
  currentFactor: f64;
  /** Of one drive: charge of its conversions, and of its cells a unit of the summed codes. */
  driveFemtojoules: f64;
  unitFemtojoules: f64;
  energyFemtojoules: f64;
}

const half: f64 = 0.5;

/** Packed quantiles: 2^10 · quantile + step to the next, 32 segments to each of 31 octaves. */
const quantileTable = memory.data(31 * 32 * 4, 16);
/** Where the exponent 0 would be whose first tail, of 1, has 127. */
@inline const firstQuantile: usize = quantileTable - (127 << 7);
/** The two keys of each round, splat. */
const roundKeys = memory.data(7 * 32, 16);
/** Vectors that every conversion needs. Loading one is a step; the compiler would build a constant anew wherever it is used. */
const constants = memory.data(14 * 16, 16);
/** Of each row of a tile whether a drive has it, a byte each. */
const drivenFlags = memory.data(512, 16);
/** Drives that are added up at once, and rows of a chunk: what one chunk of them needs has to fit the nearest cache. */
@inline const batchDrives: usize = 128;
@inline const chunkRows: i32 = 64;
/** Of each chunk, drive by drive, a bit for each row that is driven. */
const drivenBits = memory.data(8 * 128 * 8, 16);
/** Sums of every subset of four rows, of all rows of a chunk. */
const subsets = memory.data(16 * 16 * 64, 16);
/** Codes of a block, drive by drive, then variances. */
const batchSums = memory.data(2 * 128 * 64, 16);
/** Saturated conversions and codes of each drive, added up in four lanes. */
const batchTotals = memory.data(128 * 32, 16);
/** Random words of a block, drive by drive: one draw is a long chain of steps, and many go on at once. */
const batchWords = memory.data(128 * 64, 16);

const multiplier0: u32 = 0xd2511f53;
const multiplier1: u32 = 0xcd9e8d57;

@inline const signBit: usize = 0;
@inline const halfPlace: usize = 16;
@inline const biasPlace: usize = 32;
@inline const variancePlace: usize = 48;
@inline const minimumPlace: usize = 64;
@inline const maximumPlace: usize = 80;
@inline const noiseBiasPlace: usize = 96;
@inline const tailPlace: usize = 112;
@inline const fractionPlace: usize = 128;
@inline const stepPlace: usize = 144;
@inline const onePlace: usize = 160;
@inline const leastPlace: usize = 176;
@inline const halfUnitPlace: usize = 192;
@inline const lessThanHalfPlace: usize = 208;

let isNoisy: bool = false;
let seed: u32 = 0;
let stream: u32 = 0;

export function quantiles(): usize {
  return quantileTable;
}

/** What all tiles of a chip share. */
export function configure(chipSeed: u32, noiseStream: u32, factor: f32, minimum: i32, maximum: i32): void {
  seed = chipSeed;
  stream = noiseStream;
  isNoisy = factor > 0;
  v128.store(constants, i64x2.splat(i64.MIN_VALUE), signBit);
  v128.store(constants, f64x2.splat(half), halfPlace);
  v128.store(constants, f64x2.splat(6755399441055744.0), biasPlace);
  v128.store(constants, f32x4.splat(factor), variancePlace);
  v128.store(constants, i32x4.splat(minimum), minimumPlace);
  v128.store(constants, i32x4.splat(maximum), maximumPlace);
  v128.store(constants, f32x4.splat(49152), noiseBiasPlace);
  v128.store(constants, i32x4.splat(0x7fffffff), tailPlace);
  v128.store(constants, i32x4.splat(4095), fractionPlace);
  v128.store(constants, i32x4.splat(1023), stepPlace);
  v128.store(constants, i32x4.splat(1), onePlace);
  v128.store(constants, i32x4.splat(i32.MIN_VALUE), leastPlace);
  v128.store(constants, i32x4.splat(1 << 19), halfUnitPlace);
  v128.store(constants, i32x4.splat((1 << 19) - 1), lessThanHalfPlace);
  for (let round: u32 = 0; round < 7; round++) {
    v128.store(roundKeys + (round << 5), i32x4.splat(chipSeed + round * 0x9e3779b9));
    v128.store(roundKeys + (round << 5), i32x4.splat(noiseStream + round * 0xbb67ae85), 16);
  }
}

/** memory.fill is a call out of the kernel; these are a few stores. Up to 15 bytes past the end are cleared too. */
@inline function clear(at: usize, bytes: usize): void {
  for (const end = at + bytes; at < end; at += 16) v128.store(at, i32x4.splat(0));
}

/** To the nearest integer, halves away from zero. */
@inline function rounded(value: v128): v128 {
  const sign = v128.and(value, v128.load(constants, signBit));
  return f64x2.trunc(f64x2.add(value, v128.or(sign, v128.load(constants, halfPlace))));
}

@inline function lowDoubles(integers: v128): v128 {
  return f64x2.convert_low_i32x4_s(integers);
}

@inline function highDoubles(integers: v128): v128 {
  return f64x2.convert_low_i32x4_s(v128.shuffle<i64>(integers, integers, 1, 1));
}

/**
 * Four int32 from two pairs of doubles that are integers below 2^51: 1.5 · 2^52 on top of one leaves its low 32 bits in the low half of the
 * double. It wraps as a store to an int32 does.
 */
@inline function integers(low: v128, high: v128): v128 {
  const bias = v128.load(constants, biasPlace);
  return v128.shuffle<i32>(f64x2.add(low, bias), f64x2.add(high, bias), 0, 2, 4, 6);
}

/** The codes of the driven rows of one block, or the variances. Eight sums at once would not fit the registers. */
function addRows(cells: usize, rows: usize, count: i32, sums: usize): void {
  let s0 = i32x4.splat(0), s1 = i32x4.splat(0), s2 = i32x4.splat(0), s3 = i32x4.splat(0);
  const end = rows + (<usize>count << 2);
  for (; rows + 4 < end; rows += 8) {
    const one = cells + load<u32>(rows);
    const other = cells + load<u32>(rows, 4);
    s0 = i32x4.add(s0, i32x4.add(v128.load(one), v128.load(other)));
    s1 = i32x4.add(s1, i32x4.add(v128.load(one, 16), v128.load(other, 16)));
    s2 = i32x4.add(s2, i32x4.add(v128.load(one, 32), v128.load(other, 32)));
    s3 = i32x4.add(s3, i32x4.add(v128.load(one, 48), v128.load(other, 48)));
  }
  if (rows < end) {
    const row = cells + load<u32>(rows);
    s0 = i32x4.add(s0, v128.load(row));
    s1 = i32x4.add(s1, v128.load(row, 16));
    s2 = i32x4.add(s2, v128.load(row, 32));
    s3 = i32x4.add(s3, v128.load(row, 48));
  }
  v128.store(sums, s0);
  v128.store(sums, s1, 16);
  v128.store(sums, s2, 32);
  v128.store(sums, s3, 48);
}

/** The sums of all subsets of four rows: of none, of the first only, of the second, of both, and so on. */
function addSubsets(rows: usize, sums: usize): void {
  clear(sums, 64);
  for (let bytes: usize = 64; bytes < 1024; bytes <<= 1, rows += 64) {
    const r0 = v128.load(rows), r1 = v128.load(rows, 16), r2 = v128.load(rows, 32), r3 = v128.load(rows, 48);
    for (let from = sums, to = sums + bytes, end = to; from < end; from += 64, to += 64) {
      v128.store(to, i32x4.add(v128.load(from), r0));
      v128.store(to, i32x4.add(v128.load(from, 16), r1), 16);
      v128.store(to, i32x4.add(v128.load(from, 32), r2), 32);
      v128.store(to, i32x4.add(v128.load(from, 48), r3), 48);
    }
  }
}

/** Adds the driven rows of a chunk to what a drive has, four bits a subset and two subsets at a time. */
function addChunk(bits: u64, pairs: usize, sums: usize): void {
  let s0 = v128.load(sums), s1 = v128.load(sums, 16), s2 = v128.load(sums, 32), s3 = v128.load(sums, 48);
  let table = subsets;
  for (const end = table + (pairs << 11); table < end; table += 2048, bits >>= 8) {
    const one = table + (<usize>(bits & 15) << 6);
    const other = table + (<usize>(bits & 240) << 2);
    s0 = i32x4.add(s0, i32x4.add(v128.load(one), v128.load(other, 1024)));
    s1 = i32x4.add(s1, i32x4.add(v128.load(one, 16), v128.load(other, 1040)));
    s2 = i32x4.add(s2, i32x4.add(v128.load(one, 32), v128.load(other, 1056)));
    s3 = i32x4.add(s3, i32x4.add(v128.load(one, 48), v128.load(other, 1072)));
  }
  v128.store(sums, s0);
  v128.store(sums, s1, 16);
  v128.store(sums, s2, 32);
  v128.store(sums, s3, 48);
}

/** Adds up one block for a whole batch, codes or variances, chunk by chunk. Rows past the last one are in no drive. */
function addBatch(cells: usize, rowCount: i32, driveCount: i32, sums: usize): void {
  const end = sums + (<usize>driveCount << 6);
  clear(sums, end - sums);
  for (let chunk = 0, row = 0; row < rowCount; chunk++, row += chunkRows) {
    const pairs = <usize>min((rowCount - row + 7) >> 3, chunkRows >> 3);
    for (let group: usize = 0; group < pairs << 1; group++) addSubsets(cells + (<usize>row << 6) + (group << 8), subsets + (group << 10));
    let bits = drivenBits + <usize>chunk * (batchDrives << 3);
    for (let drive = sums; drive < end; drive += 64, bits += 8) addChunk(load<u64>(bits), pairs, drive);
  }
}

/** Philox4x32-7 of four counters that differ in their last word. The first round is the same for all four but for that word. */
function drawWords(c0: u32, c1: u32, c2: u32, firstQuad: u32, words: usize): void {
  const product0 = <u64>c0 * multiplier0;
  const product1 = <u64>c2 * multiplier1;
  let w0 = i32x4.splat(<u32>(product1 >> 32) ^ c1 ^ seed);
  let w1 = i32x4.splat(<u32>product1);
  const quads = i32x4.add(i32x4.splat(firstQuad), i32x4(0, 1, 2, 3));
  let w2 = v128.xor(i32x4.splat(<u32>(product0 >> 32) ^ stream), quads);
  let w3 = i32x4.splat(<u32>product0);
  const m0 = i32x4.splat(multiplier0);
  const m1 = i32x4.splat(multiplier1);
  for (let keys = roundKeys + 32; keys < roundKeys + 7 * 32; keys += 32) {
    const low0 = i64x2.extmul_low_i32x4_u(w0, m0);
    const high0 = i64x2.extmul_high_i32x4_u(w0, m0);
    const low1 = i64x2.extmul_low_i32x4_u(w2, m1);
    const high1 = i64x2.extmul_high_i32x4_u(w2, m1);
    w0 = v128.xor(v128.xor(v128.shuffle<i32>(low1, high1, 1, 3, 5, 7), w1), v128.load(keys));
    w2 = v128.xor(v128.xor(v128.shuffle<i32>(low0, high0, 1, 3, 5, 7), w3), v128.load(keys, 16));
    w1 = v128.shuffle<i32>(low1, high1, 0, 2, 4, 6);
    w3 = v128.shuffle<i32>(low0, high0, 0, 2, 4, 6);
  }
  v128.store(words, w0);
  v128.store(words, w1, 16);
  v128.store(words, w2, 32);
  v128.store(words, w3, 48);
}

/**
 * Normal deviates of four words, as floats. A float has the octave in its exponent, the segment in the first five bits of its mantissa and the fraction in
 * the next twelve. Clearing the bit below those (and others below it) keeps the conversion from rounding up into them.
 */
@inline function deviates(words: v128): v128 {
  const tails = i32x4.max_s(v128.and(words, v128.load(constants, tailPlace)), v128.load(constants, onePlace));
  const floats = f32x4.convert_i32x4_s(v128.andnot(tails, i32x4.shr_u(tails, 18)));
  const segments = i32x4.shr_u(floats, 18);
  const fractions = v128.and(i32x4.shr_u(floats, 6), v128.load(constants, fractionPlace));
  const first = i64x2.extract_lane(segments, 0);
  const last = i64x2.extract_lane(segments, 1);
  let entries = v128.load32_zero(firstQuantile + (<usize>(<u32>first) << 2));
  entries = v128.load_lane<i32>(firstQuantile + (<usize>(first >>> 32) << 2), entries, 1);
  entries = v128.load_lane<i32>(firstQuantile + (<usize>(<u32>last) << 2), entries, 2);
  entries = v128.load_lane<i32>(firstQuantile + (<usize>(last >>> 32) << 2), entries, 3);
  const steps = i32x4.dot_i16x8_s(v128.and(entries, v128.load(constants, stepPlace)), fractions);
  const sizes = i32x4.sub(i32x4.shr_u(entries, 10), i32x4.shr_u(steps, 12));
  return v128.xor(f32x4.convert_i32x4_s(sizes), v128.andnot(words, v128.load(constants, tailPlace)));
}

/**
 * Noise of four lines in units of the sum, to the nearest 1/256: 1.5 · 2^15 on top of it leaves no finer digit. In floats, each operation rounded as
 * the twin rounds it.
 */
@inline function noiseOf(variances: v128, normals: v128): v128 {
  const sigmas = f32x4.sqrt(f32x4.mul(f32x4.convert_i32x4_s(variances), v128.load(constants, variancePlace)));
  const bias = v128.load(constants, noiseBiasPlace);
  return f32x4.sub(f32x4.add(f32x4.mul(sigmas, normals), bias), bias);
}

/** That of two vectors of a half block, whose lines are in the low lanes: those of the second in the high lanes. */
@inline function noiseOfTwo(variances: usize, words: usize): v128 {
  const spread = v128.shuffle<i64>(v128.load(variances), v128.load(variances, 16), 0, 2);
  return noiseOf(spread, deviates(v128.shuffle<i64>(v128.load(words), v128.load(words, 16), 0, 2)));
}

@inline function lowPromoted(floats: v128): v128 {
  return f64x2.promote_low_f32x4(floats);
}

@inline function highPromoted(floats: v128): v128 {
  return f64x2.promote_low_f32x4(v128.shuffle<i64>(floats, floats, 1, 1));
}

/** Codes less their offsets. */
@inline function codesOf(sums: v128, noise: v128, gains: usize): v128 {
  return rounded(f64x2.mul(f64x2.add(sums, noise), v128.load(gains)));
}

/** Adds up four lanes that are not negative. */
@inline function total(lanes: v128): i64 {
  const wide = i64x2.add(i64x2.extend_low_i32x4_u(lanes), i64x2.extend_high_i32x4_u(lanes));
  return i64x2.extract_lane(wide, 0) + i64x2.extract_lane(wide, 1);
}

/** A drive of one tile. */
@unmanaged class Drive {
  /** Places of the driven rows in a block. */
  rows: usize;
  count: i32;
  position: u32;
  plane: i32;
  /** One code a line, to which codes are added, shifted by so many bits. */
  codes: usize;
  shift: i32;
  saturations: i32;
  sumOfCodes: f64;
}

@inline function driveAt(drives: usize, index: i32): Drive {
  return changetype<Drive>(drives + <usize>index * offsetof<Drive>());
}

/** Four lines of a block. Lines of a half block are in the low lanes. */
@inline function convertLines(lineSums: v128, noise: v128, lines: usize, factor: v128, isHalf: bool, sums: usize, totals: usize): void {
  const low = codesOf(lowDoubles(lineSums), lowPromoted(noise), lines);
  const high = isHalf ? f64x2.splat(0) : codesOf(highDoubles(lineSums), highPromoted(noise), lines + 16);
  const converted = i32x4.add(integers(low, high), v128.load(lines, 32));
  const maximum = v128.load(constants, maximumPlace);
  const kept = i32x4.min_s(maximum, i32x4.max_s(v128.load(constants, minimumPlace), converted));
  v128.store(sums, i32x4.add(v128.load(sums), i32x4.mul(kept, factor)));
  v128.store(totals, i32x4.sub(v128.load(totals), i32x4.gt_s(converted, maximum)));
}

/** Converts what was added up of one block of a drive, and adds the codes, shifted, to those of its lines. */
function convertBlock(tile: Tile, block: i32, drive: Drive, codes: usize, variances: usize, words: usize, totals: usize): void {
  const isHalf = tile.lineCount - (block << 4) <= 8;
  const factor = i32x4.splat(1 << drive.shift);
  const sums = drive.codes + (<usize>block << 6);
  const lines = tile.lines + <usize>block * 192;
  const c0 = v128.load(codes), c1 = v128.load(codes, 16), c2 = v128.load(codes, 32), c3 = v128.load(codes, 48);
  let n0 = i32x4.splat(0), n1 = i32x4.splat(0), n2 = i32x4.splat(0), n3 = i32x4.splat(0);
  if (isNoisy && isHalf) {
    n0 = noiseOfTwo(variances, words);
    n1 = v128.shuffle<i64>(n0, n0, 1, 1);
    n2 = noiseOfTwo(variances + 32, words + 32);
    n3 = v128.shuffle<i64>(n2, n2, 1, 1);
  } else if (isNoisy) {
    n0 = noiseOf(v128.load(variances), deviates(v128.load(words)));
    n1 = noiseOf(v128.load(variances, 16), deviates(v128.load(words, 16)));
    n2 = noiseOf(v128.load(variances, 32), deviates(v128.load(words, 32)));
    n3 = noiseOf(v128.load(variances, 48), deviates(v128.load(words, 48)));
  }
  convertLines(c0, n0, lines, factor, isHalf, sums, totals);
  convertLines(c1, n1, lines + 48, factor, isHalf, sums + 16, totals);
  convertLines(c2, n2, lines + 96, factor, isHalf, sums + 32, totals);
  convertLines(c3, n3, lines + 144, factor, isHalf, sums + 48, totals);
  v128.store(totals, i32x4.add(v128.load(totals, 16), i32x4.add(i32x4.add(c0, c1), i32x4.add(c2, c3))), 16);
}

/** Bits of the driven rows. By way of flags, because a row's bit would have to wait for that of the row before. */
function markRows(drive: Drive, rowCount: i32, bits: usize): void {
  clear(drivenFlags, rowCount);
  for (let row = drive.rows, end = row + (<usize>drive.count << 2); row < end; row += 4) store<u8>(drivenFlags + (<usize>load<u32>(row) >> 6), 0x80);
  for (let row = 0; row < rowCount; row += 16) {
    const byte = <usize>(row / chunkRows) * (batchDrives << 3) + <usize>((row % chunkRows) >> 3);
    store<u16>(bits + byte, i8x16.bitmask(v128.load(drivenFlags + row)));
  }
}

/** Whether a batch takes fewer additions by subsets of its rows than row by row, those that make the subsets included. */
function isBySubsets(tile: Tile, drives: usize, driveCount: i32): bool {
  let count = 0;
  for (let index = 0; index < driveCount; index++) count += driveAt(drives, index).count;
  return count > ((tile.rowCount + 3) >> 2) * (driveCount + 16);
}

/** Adds up one block for a batch, codes or variances. */
function addBlock(cells: usize, rowCount: i32, drives: usize, driveCount: i32, bySubsets: bool, sums: usize): void {
  if (bySubsets) return addBatch(cells, rowCount, driveCount, sums);
  for (let index = 0; index < driveCount; index++, sums += 64) {
    const drive = driveAt(drives, index);
    addRows(cells, drive.rows, drive.count, sums);
  }
}

/** A batch of drives of one tile: block by block, so that cells stay in the nearest cache from drive to drive. */
function convertBatch(tile: Tile, drives: usize, driveCount: i32, inferenceNumber: u32, timestep: i32): void {
  const bySubsets = isBySubsets(tile, drives, driveCount);
  clear(batchTotals, <usize>driveCount << 5);
  for (let index = 0; bySubsets && index < driveCount; index++) markRows(driveAt(drives, index), tile.rowCount, drivenBits + (<usize>index << 3));
  const variances = batchSums + (batchDrives << 6);
  for (let block = 0; block << 4 < tile.lineCount; block++) {
    const cells = tile.matrix + <usize>block * tile.blockBytes;
    addBlock(cells, tile.rowCount, drives, driveCount, bySubsets, batchSums);
    if (isNoisy) addBlock(cells + tile.varianceBytes, tile.rowCount, drives, driveCount, bySubsets, variances);
    for (let index = 0; isNoisy && index < driveCount; index++) {
      const drive = driveAt(drives, index);
      const where = (timestep << 16) + (tile.number << 8) + drive.plane;
      drawWords(inferenceNumber, where, drive.position, block << 2, batchWords + (<usize>index << 6));
    }
    for (let index = 0; index < driveCount; index++) {
      const at = <usize>index << 6;
      convertBlock(tile, block, driveAt(drives, index), batchSums + at, variances + at, batchWords + at, batchTotals + (at >> 1));
    }
  }
  for (let index = 0; index < driveCount; index++) {
    const drive = driveAt(drives, index);
    drive.saturations = <i32>total(v128.load(batchTotals + (<usize>index << 5)));
    drive.sumOfCodes = <f64>total(v128.load(batchTotals + (<usize>index << 5), 16));
  }
}

/** From numbers of rows to their places. */
function placeRows(drive: Drive): void {
  for (let row = drive.rows, end = row + (<usize>drive.count << 2); row < end; row += 4) store<u32>(row, load<u32>(row) << 6);
}

/** Brings the codes of a block from the order of vectors to that of lines. */
function sortLines(codes: usize): void {
  const v0 = v128.load(codes), v1 = v128.load(codes, 16), v2 = v128.load(codes, 32), v3 = v128.load(codes, 48);
  const low01 = v128.shuffle<i32>(v0, v1, 0, 4, 1, 5), high01 = v128.shuffle<i32>(v0, v1, 2, 6, 3, 7);
  const low23 = v128.shuffle<i32>(v2, v3, 0, 4, 1, 5), high23 = v128.shuffle<i32>(v2, v3, 2, 6, 3, 7);
  v128.store(codes, v128.shuffle<i64>(low01, low23, 0, 2));
  v128.store(codes, v128.shuffle<i64>(low01, low23, 1, 3), 16);
  v128.store(codes, v128.shuffle<i64>(high01, high23, 0, 2), 32);
  v128.store(codes, v128.shuffle<i64>(high01, high23, 1, 3), 48);
}

/** Drives of one tile, whose rows are numbers, to the codes of its lines in their order. */
export function multiply(tile: Tile, inferenceNumber: u32, timestep: i32, drives: usize, driveCount: i32): void {
  const codesBytes = <usize>((tile.lineCount + 15) >> 4) << 6;
  for (let index = 0; index < driveCount; index++) {
    const drive = driveAt(drives, index);
    placeRows(drive);
    clear(drive.codes, codesBytes);
  }
  convertBatch(tile, drives, driveCount, inferenceNumber, timestep);
  for (let index = 0; index < driveCount; index++) {
    const codes = driveAt(drives, index).codes;
    for (let block: usize = 0; block < codesBytes; block += 64) sortLines(codes + block);
  }
}

@inline function book(layer: Layer, sum: f64): void {
  layer.drives += 1;
  layer.energyFemtojoules += layer.driveFemtojoules + Math.floor(sum * layer.unitFemtojoules + half);
}

function setDrive(drive: Drive, rows: usize, count: i32, position: u32, plane: i32, codes: usize): void {
  drive.rows = rows;
  drive.count = count;
  drive.position = position;
  drive.plane = plane;
  drive.codes = codes;
  drive.shift = plane;
}

/** One bit a code and plane. What is read past the end of a row belongs to no window of it. */
function markPlanes(layer: Layer): void {
  let codes = layer.input;
  const planeBytes = <usize>layer.bitRows * layer.bitRowBytes;
  for (let row = 0; row < layer.bitRows; row++, codes += <usize>layer.rowCodes << 1) {
    const bits = layer.bits + <usize>row * layer.bitRowBytes;
    for (let index: usize = 0; index < <usize>layer.rowCodes; index += 8) {
      const eight = v128.load(codes + (index << 1));
      for (let plane: usize = 0; plane < <usize>layer.driveBits; plane++) {
        store<u8>(bits + plane * planeBytes + (index >> 3), i16x8.bitmask(i16x8.shl(eight, 15 - <i32>plane)));
      }
    }
  }
}

@inline function appendLowest(word: u64, offsets: usize, next: usize): u64 {
  store<u32>(next, load<u32>(offsets + (<usize>ctz(word) << 2)));
  return word & (word - 1);
}

/** Appends the offset of each bit that is set, four a turn, because a loop that ends costs a mispredicted branch; what is too many is written over. */
@inline function append(word: u64, offsets: usize, next: usize): usize {
  const end = next + (<usize>popcnt(word) << 2);
  for (; next < end; next += 16) {
    word = appendLowest(word, offsets, next);
    word = appendLowest(word, offsets, next + 4);
    word = appendLowest(word, offsets, next + 8);
    word = appendLowest(word, offsets, next + 12);
  }
  return end;
}

/**
 * Lists where the driven rows of a window are, span by span. Spans that fit one word are gathered in it, because every loop that ends costs a
 * mispredicted branch. @returns the end of the list
 */
function listDriven(layer: Layer, bits: usize, firstBit: i32, next: usize): usize {
  const spanBits = layer.spanLength;
  if (spanBits + (firstBit & 7) > 64) return listLongSpans(layer, bits, firstBit, next);
  const mask = ~(<u64>0) >> <u64>(64 - spanBits);
  const bitRowBytes = layer.bitRowBytes;
  const shift = <u64>(firstBit & 7);
  let offsets = layer.rowOffsets;
  let word: u64 = 0;
  let filled = 0;
  let at = bits + <usize>(firstBit >> 3);
  for (const end = at + <usize>layer.spanCount * bitRowBytes; at < end; at += bitRowBytes, filled += spanBits) {
    if (filled + spanBits > 64) {
      next = append(word, offsets, next);
      offsets += <usize>filled << 2;
      word = 0;
      filled = 0;
    }
    word |= (load<u64>(at) >> shift & mask) << <u64>filled;
  }
  return append(word, offsets, next);
}

/** The same where a span may lie in more than one word: piece by piece. */
function listLongSpans(layer: Layer, bits: usize, firstBit: i32, next: usize): usize {
  let offsets = layer.rowOffsets;
  for (let span = 0; span < layer.spanCount; span++, bits += layer.bitRowBytes) {
    for (let index = 0, count = 0; index < layer.spanLength; index += count) {
      const first = firstBit + index;
      count = min(layer.spanLength - index, 64 - (first & 7));
      const piece = load<u64>(bits + <usize>(first >> 3)) >> <u64>(first & 7) << <u64>(64 - count) >> <u64>(64 - count);
      next = append(piece, offsets, next);
      offsets += <usize>count << 2;
    }
  }
  return next;
}

/** Lists the drives of a position where there is one tile, plane by plane. @returns whether there are any */
function listDrives(layer: Layer, bits: usize, firstBit: i32, position: u32, codes: usize): bool {
  const planeBytes = <usize>layer.bitRows * layer.bitRowBytes;
  const before = load<i32>(layer.waitingCounts);
  let count = before;
  let rows = layer.drivenRows;
  if (count > 0) {
    const last = driveAt(layer.waiting, count - 1);
    rows = last.rows + (<usize>last.count << 2);
  }
  for (let plane = 0; plane < layer.planesUsed; plane++, bits += planeBytes) {
    const end = listDriven(layer, bits, firstBit, rows);
    if (end == rows) continue;
    setDrive(driveAt(layer.waiting, count++), rows, <i32>((end - rows) >> 2), position, plane, codes);
    rows = end;
  }
  store<i32>(layer.waitingCounts, count);
  return count > before;
}

/** Bits of the codes that are not 0 among the `left` next ones of a span, eight at most. */
@inline function drivenCodes(codes: v128, left: i32): i32 {
  const mask = i16x8.bitmask(i16x8.ne(codes, i16x8.splat(0)));
  return left < 8 ? mask & ((1 << left) - 1) : mask;
}

/** Sorts the driven rows of a window by tile and plane. */
function gatherRows(layer: Layer, window: usize): void {
  const rowOffsets = layer.rowOffsets;
  const rowTiles = layer.rowTiles;
  const drivenRows = layer.drivenRows;
  const drivenCounts = layer.drivenCounts;
  const spanLength = layer.spanLength;
  clear(drivenCounts, <usize>layer.tileCount << 4);
  let row = 0;
  for (let span = 0; span < layer.spanCount; span++, window += layer.spanBytes) {
    for (let index = 0; index < spanLength; index += 8) {
      const codes = window + (<usize>index << 1);
      for (let mask = drivenCodes(v128.load(codes), spanLength - index); mask != 0; mask &= mask - 1) {
        const bit = ctz(mask);
        const code = <i32>load<u16>(codes + (<usize>bit << 1));
        const at = row + index + bit;
        const offset = load<u32>(rowOffsets + (<usize>at << 2));
        let counts = drivenCounts + (<usize>load<u8>(rowTiles + <usize>at) << 4);
        let rows = drivenRows + (<usize>load<u8>(rowTiles + <usize>at) << 13);
        for (let rest = code; rest != 0; rest >>= 1, counts += 4, rows += 2048) {
          const count = load<i32>(counts);
          store<u32>(rows + (<usize>count << 2), offset);
          store<i32>(counts, count + (rest & 1));
        }
      }
    }
    row += spanLength;
  }
}

/** Lists the drives of a position tile by tile, plane by plane. @returns whether there are any */
function sortDrives(layer: Layer, window: usize, position: u32, codes: usize): bool {
  gatherRows(layer, window);
  let isDriven = false;
  for (let index: usize = 0; index < <usize>layer.tileCount; index++) {
    let count = 0;
    for (let plane: usize = 0; plane < <usize>layer.driveBits; plane++) {
      const rowCount = load<i32>(layer.drivenCounts + (index << 4) + (plane << 2));
      if (rowCount == 0) continue;
      const rows = layer.drivenRows + (index << 13) + (plane << 11);
      setDrive(driveAt(layer.waiting + index * layer.waitingBytes, count++), rows, rowCount, position, <i32>plane, codes);
    }
    store<i32>(layer.waitingCounts + (index << 2), count);
    isDriven = isDriven || count > 0;
  }
  return isDriven;
}

/** Converts the drives of one tile that wait. */
function convertTile(layer: Layer, index: usize, inferenceNumber: u32, timestep: i32): void {
  const drives = layer.waiting + index * layer.waitingBytes;
  const counts = layer.waitingCounts + (index << 2);
  const count = load<i32>(counts);
  convertBatch(changetype<Tile>(layer.tiles + index * offsetof<Tile>()), drives, count, inferenceNumber, timestep);
  for (let at = 0; at < count; at++) {
    const drive = driveAt(drives, at);
    layer.saturations += drive.saturations;
    book(layer, drive.sumOfCodes);
  }
  store<i32>(counts, 0);
}

/** Converts all that waits, and recombines the sums of each position. */
function convertWaiting(layer: Layer, positionCount: i32, inferenceNumber: u32, timestep: i32): void {
  for (let index: usize = 0; index < <usize>layer.tileCount; index++) convertTile(layer, index, inferenceNumber, timestep);
  let sums = layer.sums;
  for (let at = layer.waitingOutputs, end = at + (<usize>positionCount << 2); at < end; at += 4, sums += layer.sumsBytes) {
    subtractLines(layer, sums, load<u32>(at));
  }
}

/** Whether the drives of another position might not fit. Rows of several tiles have room for one position. */
function isFull(layer: Layer): bool {
  return layer.tileCount > 1 || load<i32>(layer.waitingCounts) + layer.driveBits > <i32>batchDrives;
}

/** Recombined sums: of each output the plus line less the minus line. */
function subtractLines(layer: Layer, sums: usize, differences: usize): void {
  const plus = layer.slotOffsets;
  const minus = plus + (<usize>layer.outputs << 2);
  for (let at: usize = 0; at < <usize>layer.outputs << 2; at += 4) {
    store<i32>(differences + at, load<i32>(sums + load<u32>(plus + at)) - load<i32>(sums + load<u32>(minus + at)));
  }
}

/** Two adjacent drive codes that are not both 0. */
@unmanaged class Pair {
  /** Where its differences would be if a window began with the first row and column of the input. */
  differences: u32;
  codes: u32;
}

/** Of a driven pair: the row of the grids where it is added, and what its codes add. */
@unmanaged class PairSums {
  gridRow: usize;
  codeSums: usize;
}

/**
 * Lists the driven pairs of the input column by column, so that those of a column that a window sees are adjacent. Every pair is written, and the next
 * one over it where it is not driven. @returns how many there are
 */
function listPairs(layer: Layer): usize {
  const rowBytes = <usize>layer.rowCodes << 1;
  const pixelBytes = <usize>layer.pixelCodes << 1;
  const differenceBytes = layer.differenceBytes;
  const spanDifferences = <u32>(layer.spanLength >> 1) * differenceBytes;
  let next = layer.inputPairs;
  let pairSums = layer.pairSums;
  let pixelPairs = layer.pixelPairs;
  for (let column: usize = 0, first: u32 = 0; column < rowBytes; column += pixelBytes, first += (layer.pixelCodes >> 1) * differenceBytes) {
    let pixel = layer.input + column;
    let rowDifferences = first;
    for (let row = 0, gridRow = layer.sumGrids; row < layer.bitRows; row++, gridRow += layer.gridRowBytes) {
      store<u32>(pixelPairs, <u32>next);
      pixelPairs += 4;
      let codeSums = layer.codeSums + (column >> 1) * offsetof<CodeSums>();
      let differences = rowDifferences;
      for (let at = pixel, end = pixel + pixelBytes; at < end; at += 4) {
        const both = load<u32>(at);
        changetype<Pair>(next).differences = differences;
        changetype<Pair>(next).codes = both;
        changetype<PairSums>(pairSums).gridRow = gridRow;
        changetype<PairSums>(pairSums).codeSums = codeSums;
        const driven = <usize>(both != 0) << 3;
        next += driven;
        pairSums += driven;
        differences += differenceBytes;
        codeSums += offsetof<CodeSums>() << 1;
      }
      pixel += rowBytes;
      rowDifferences += spanDifferences;
    }
    store<u32>(pixelPairs, <u32>next);
    pixelPairs += 4;
  }
  return (next - layer.inputPairs) >> 3;
}

/** What a code of the input adds to the grids, plane by plane that it drives. */
@unmanaged class CodeSums {
  /** Where in a row of its first tile's first grid the first window is that holds it. */
  column: u32;
  /** Of each of its tiles and each window that holds it: the sum of its row's codes, with a fraction that counts the row. */
  sums: usize;
  sumsBytes: u32;
}

/** Adds what a code adds in one plane to all windows that hold it, two at a time. @param row of the first tile's grid of that plane */
@inline function addCode(layer: Layer, code: CodeSums, row: usize): void {
  const rowBytes = <usize>((layer.windowRows + 2) >> 1) << 4;
  const gridRowBytes = <usize>layer.gridRowBytes;
  let sums = code.sums;
  let grid = row + code.column;
  for (const end = sums + code.sumsBytes; sums < end; grid += <usize>layer.driveBits * layer.gridBytes) {
    let first = grid;
    for (const last = sums + layer.tileSumsBytes; sums < last; first += gridRowBytes) {
      for (let to = first, rowEnd = sums + rowBytes; sums < rowEnd; to += 16, sums += 16) {
        v128.store(to, f64x2.add(v128.load(to), v128.load(sums)));
      }
    }
  }
}

/** Lists the driven pairs of the input, and adds up what bit-serial conversion would take, bit by bit of their codes. */
function gatherPairs(layer: Layer): void {
  const tileBytes = <usize>layer.driveBits * layer.gridBytes;
  for (let tile = 0, grid = layer.sumGrids; tile < layer.tileCount; tile++, grid += tileBytes) clear(grid, <usize>layer.planesUsed * layer.gridBytes);
  const count = listPairs(layer);
  let pair = layer.inputPairs;
  for (let at = layer.pairSums, end = at + (count << 3); at < end; at += 8, pair += 8) {
    const sums = changetype<PairSums>(at);
    for (let codes = changetype<Pair>(pair).codes; codes != 0; codes &= codes - 1) {
      const bit = <usize>ctz(codes);
      addCode(layer, changetype<CodeSums>(sums.codeSums + (bit >> 4) * offsetof<CodeSums>()), sums.gridRow + (bit & 15) * layer.gridBytes);
    }
  }
}

/** Books the drives of one tile and plane: of a window with driven rows the sum is above 0, if only by its fraction. */
function bookGrid(layer: Layer, grid: usize): void {
  const unit = f64x2.splat(layer.unitFemtojoules);
  const columns = layer.positionColumns;
  const stepBytes = <usize>layer.gridStepBytes;
  let drives = i64x2.splat(0);
  let energy = f64x2.splat(0);
  for (let row = 0; row < layer.positionRows; row++, grid += <usize>layer.stepRows * layer.gridRowBytes) {
    for (let column = 0, at = grid; column < columns; column += 2, at += stepBytes << 1) {
      let sums = v128.load64_zero(at);
      if (column + 1 < columns) sums = v128.load_lane<i64>(at + stepBytes, sums, 1);
      drives = i64x2.sub(drives, f64x2.gt(sums, f64x2.splat(0)));
      energy = f64x2.add(energy, f64x2.floor(f64x2.add(f64x2.mul(f64x2.floor(sums), unit), f64x2.splat(half))));
    }
  }
  const count = <i32>(i64x2.extract_lane(drives, 0) + i64x2.extract_lane(drives, 1));
  layer.drives += count;
  layer.energyFemtojoules += <f64>count * layer.driveFemtojoules + f64x2.extract_lane(energy, 0) + f64x2.extract_lane(energy, 1);
}

function bookGrids(layer: Layer): void {
  const first = layer.sumGrids + layer.gridOrigin;
  for (let tile = 0; tile < layer.tileCount; tile++) {
    for (let plane = 0; plane < layer.planesUsed; plane++) bookGrid(layer, first + <usize>(tile * layer.driveBits + plane) * layer.gridBytes);
  }
}

/**
 * Lists the driven pairs that a row of windows sees, column by column: those of a window are adjacent. Each column is copied at its full length, because a
 * loop that ends now here, now there costs a mispredicted branch; what is past its driven pairs is written over.
 */
function listBand(layer: Layer, row: i32): void {
  const columnBytes = <usize>(layer.windowRows * layer.pixelCodes) << 2;
  const windowPixels = <usize>layer.windowRows << 2;
  const pixelsBytes = <usize>(layer.bitRows + 1) << 2;
  let next = layer.bandPairs;
  let columns = layer.bandColumns;
  let pixel = layer.pixelPairs + (<usize>row << 2);
  for (const end = pixel + <usize>(layer.rowCodes / layer.pixelCodes) * pixelsBytes; pixel < end; pixel += pixelsBytes, columns += 4) {
    store<u32>(columns, <u32>next);
    const from = <usize>load<u32>(pixel);
    for (let at: usize = 0; at < columnBytes; at += 16) v128.store(next + at, v128.load(from + at));
    next += <usize>load<u32>(pixel + windowPixels) - from;
  }
  store<u32>(columns, <u32>next);
}

/** 12 outputs: the differences of the driven pairs of rows by their drive codes. */
function addPairs12(pair: usize, end: usize, differences: usize, sums: usize): void {
  let s0 = i32x4.splat(0), s1 = i32x4.splat(0), s2 = i32x4.splat(0);
  for (; pair < end; pair += 8) {
    const row = differences + <usize>load<u32>(pair);
    const codes = v128.load32_splat(pair, 4);
    s0 = i32x4.add(s0, i32x4.dot_i16x8_s(codes, v128.load(row)));
    s1 = i32x4.add(s1, i32x4.dot_i16x8_s(codes, v128.load(row, 16)));
    s2 = i32x4.add(s2, i32x4.dot_i16x8_s(codes, v128.load(row, 32)));
  }
  v128.store(sums, s0);
  v128.store(sums, s1, 16);
  v128.store(sums, s2, 32);
}

/** 16 outputs: more sums at once, and what is added to them, would not fit the registers. */
function addPairs16(pair: usize, end: usize, differences: usize, sums: usize): void {
  let s0 = i32x4.splat(0), s1 = i32x4.splat(0), s2 = i32x4.splat(0), s3 = i32x4.splat(0);
  for (; pair < end; pair += 8) {
    const row = differences + <usize>load<u32>(pair);
    const codes = v128.load32_splat(pair, 4);
    s0 = i32x4.add(s0, i32x4.dot_i16x8_s(codes, v128.load(row)));
    s1 = i32x4.add(s1, i32x4.dot_i16x8_s(codes, v128.load(row, 16)));
    s2 = i32x4.add(s2, i32x4.dot_i16x8_s(codes, v128.load(row, 32)));
    s3 = i32x4.add(s3, i32x4.dot_i16x8_s(codes, v128.load(row, 48)));
  }
  v128.store(sums, s0);
  v128.store(sums, s1, 16);
  v128.store(sums, s2, 32);
  v128.store(sums, s3, 48);
}

/**
 * A row of positions whose codes are exact sums: all planes at once, because shifted sums of codes are sums of shifted codes. Outputs go block by
 * block, so that their differences stay in the nearest cache from position to position.
 */
function addPositions(layer: Layer, row: i32, currents: usize): void {
  listBand(layer, row * layer.stepRows);
  const bytes = <usize>layer.neuronStride << 2;
  const rowDifferences = <usize>(row * layer.stepRows * (layer.spanLength >> 1)) * layer.differenceBytes;
  const stepDifferences = <usize>(layer.stepRows * (layer.pixelCodes >> 1)) * layer.differenceBytes;
  const stepColumns = <usize>layer.stepRows << 2;
  const windowColumns = <usize>layer.windowRows << 2;
  for (let block: usize = 0; block < bytes; block += 64) {
    let differences = layer.differences + block - rowDifferences;
    let columns = layer.bandColumns;
    for (let sums = currents + block, end = sums + <usize>layer.positionColumns * bytes; sums < end; sums += bytes) {
      const from = <usize>load<u32>(columns);
      const to = <usize>load<u32>(columns + windowColumns);
      if (block + 48 < bytes) addPairs16(from, to, differences, sums);
      else addPairs12(from, to, differences, sums);
      columns += stepColumns;
      differences -= stepDifferences;
    }
  }
}

@inline function neuronBytes(layer: Layer): usize {
  return <usize>(layer.positionRows * layer.positionColumns * layer.neuronStride) << 2;
}

/** Makes sums currents, where the layer's scale is no whole number. */
function scaleSums(layer: Layer): void {
  const factor = f64x2.splat(layer.currentFactor);
  for (let at = layer.sumsOfOutputs, end = at + neuronBytes(layer); at < end; at += 16) {
    const sums = v128.load(at);
    v128.store(at, integers(rounded(f64x2.mul(lowDoubles(sums), factor)), rounded(f64x2.mul(highDoubles(sums), factor))));
  }
}

/** A multiplier of 0 to 2^20 that stands for a fraction of 2^20, and its digits: the lowest ten bits, and twice those above. */
@unmanaged class Fraction {
  multiplier: i32;
  low: i32;
  high: i32;
}

/**
 * floor((value · multiplier + half) / 2^20) of any int32, in 32 bits: the value is 2^11 · upper + lower, the multiplier 2^9 · high + low. What a shift
 * cuts off is less than one unit of what is added after it, so it changes no digit above.
 */
@inline function fractionOf(values: v128, fraction: usize, half: v128): v128 {
  const upper = i32x4.shr_s(values, 11);
  const lower = i32x4.sub(values, i32x4.shl(upper, 11));
  const rest = i32x4.shr_s(i32x4.add(i32x4.mul(lower, v128.load32_splat(fraction, offsetof<Fraction>("multiplier"))), half), 11);
  const middle = i32x4.shr_s(i32x4.add(i32x4.mul(upper, v128.load32_splat(fraction, offsetof<Fraction>("low"))), rest), 9);
  return i32x4.add(i32x4.mul(upper, v128.load32_splat(fraction, offsetof<Fraction>("high"))), middle);
}

/** The sum of two, saturated: the second is cut to what the first leaves room for. */
@inline function saturatedSum(one: v128, other: v128): v128 {
  const zero = i32x4.splat(0);
  const most = i32x4.sub(v128.load(constants, tailPlace), i32x4.max_s(one, zero));
  const least = i32x4.sub(v128.load(constants, leastPlace), i32x4.min_s(one, zero));
  return i32x4.add(one, i32x4.max_s(least, i32x4.min_s(most, other)));
}

/**
 * Membranes after a timestep. Halves go away from zero: to a negative value one half less a unit is added before its fraction is cut off. The larger
 * of a negative sum and the slope times it is the latter, because the slope is at most 1.
 */
@inline function stepped(layer: Layer, saturates: bool, membranes: v128, currents: v128): v128 {
  const half = v128.load(constants, halfUnitPlace);
  const kept = fractionOf(membranes, changetype<usize>(layer) + offsetof<Layer>("leak"), i32x4.add(half, i32x4.shr_s(membranes, 31)));
  const sums = saturates ? saturatedSum(kept, currents) : i32x4.add(kept, currents);
  const negative = i32x4.min_s(sums, i32x4.splat(0));
  return i32x4.max_s(sums, fractionOf(negative, changetype<usize>(layer) + offsetof<Layer>("slope"), v128.load(constants, lessThanHalfPlace)));
}

/** One timestep of all neurons. Whoever fired is above the threshold still, so that needs no place of its own. */
function fire(layer: Layer): void {
  if (layer.currentFactor != 1) scaleSums(layer);
  const threshold = v128.load32_splat(changetype<usize>(layer), offsetof<Layer>("threshold"));
  const multiplier = v128.load32_splat(changetype<usize>(layer), offsetof<Layer>("currentMultiplier"));
  const saturates = layer.saturates != 0;
  let sums = layer.sumsOfOutputs;
  let spikes = layer.spikes;
  let fired = i32x4.splat(0);
  for (let at = layer.membranes, end = at + neuronBytes(layer); at < end; at += 16, sums += 16, spikes += 8) {
    const before = v128.load(at);
    const after = stepped(layer, saturates, v128.andnot(before, i32x4.gt_s(before, threshold)), i32x4.mul(v128.load(sums), multiplier));
    v128.store(at, after);
    const above = i32x4.gt_s(after, threshold);
    fired = i32x4.sub(fired, above);
    v128.store_lane<i64>(spikes, i16x8.narrow_i32x4_s(above, above), 0);
  }
  layer.spikeCount = <i32>total(fired);
}

/** Spikes of four channels over a square. */
@inline function countSquare(first: usize, rowBytes: usize, squareRowsBytes: usize, pixelBytes: usize, squarePixelsBytes: usize): v128 {
  let count = i16x8.splat(0);
  for (let row = first, end = first + squareRowsBytes; row < end; row += rowBytes) {
    for (let at = row, rowEnd = row + squarePixelsBytes; at < rowEnd; at += pixelBytes) count = i16x8.sub(count, v128.load64_zero(at));
  }
  return count;
}

/** Counts spikes over squares, straight into the layer above. What spills over the channels is 0, and written again. */
function pool(layer: Layer): void {
  const pixelBytes = <usize>layer.neuronStride << 1;
  const rowBytes = pixelBytes * layer.positionColumns;
  const squarePixelsBytes = pixelBytes * layer.poolSize;
  const squareRowsBytes = rowBytes * layer.poolSize;
  const squaresBytes = <usize>(layer.positionColumns / layer.poolSize) * squarePixelsBytes;
  let squares = layer.spikes;
  let counts = layer.output;
  for (const end = squares + <usize>(layer.positionRows / layer.poolSize) * squareRowsBytes; squares < end; squares += squareRowsBytes) {
    let pixel = counts;
    for (let square = squares, rowEnd = squares + squaresBytes; square < rowEnd; square += squarePixelsBytes) {
      for (let channel: usize = 0; channel < pixelBytes; channel += 8) {
        v128.store_lane<i64>(pixel + channel, countSquare(square + channel, rowBytes, squareRowsBytes, pixelBytes, squarePixelsBytes), 0);
      }
      pixel += layer.outputPixelBytes;
    }
    counts += layer.outputRowBytes;
  }
}

/** Counts the planes in which codes are driven, and those that any code drives. All rows of the input lie one after the other, as one row here. */
function countPlanes(layer: Layer): void {
  const bytes = <usize>(layer.bitRows * layer.rowCodes) << 1;
  let used = i16x8.splat(0);
  for (let at: usize = 0; at < bytes; at += 16) {
    const counts = layer.planeCounts + at;
    const codes = v128.load(layer.input + at);
    used = v128.or(used, codes);
    v128.store(counts, i16x8.add(v128.load(counts), i8x16.popcnt(codes)));
  }
  used = v128.or(used, v128.shuffle<i64>(used, used, 1, 0));
  const codesUsed = i64x2.extract_lane(used, 0);
  const word = <u32>(codesUsed | (codesUsed >> 32));
  layer.planesUsed = min(layer.driveBits, 32 - <i32>clz((word | (word >> 16)) & 0xffff));
}

/** All positions bit-serially, in batches: every tile and plane with a driven row is converted. */
function convertPositions(layer: Layer, inferenceNumber: u32, timestep: i32): void {
  const outputBytes = <usize>layer.neuronStride << 2;
  let outputs = layer.sumsOfOutputs;
  let waiting = 0;
  for (let row = 0, position: u32 = 0; row < layer.positionRows; row++) {
    const bits = layer.bits + <usize>(row * layer.stepRows) * layer.bitRowBytes;
    let window = layer.input + <usize>row * layer.positionRowBytes;
    for (let column = 0; column < layer.positionColumns; column++, position++, window += layer.positionColumnBytes, outputs += outputBytes) {
      const sums = layer.sums + <usize>waiting * layer.sumsBytes;
      const isDriven = layer.tileCount == 1
        ? listDrives(layer, bits, column * layer.stepCodes, position, sums)
        : sortDrives(layer, window, position, sums);
      if (!isDriven) {
        clear(outputs, outputBytes);
        continue;
      }
      clear(sums, layer.sumsBytes);
      store<u32>(layer.waitingOutputs + (<usize>waiting << 2), <u32>outputs);
      waiting += 1;
      if (!isFull(layer)) continue;
      convertWaiting(layer, waiting, inferenceNumber, timestep);
      waiting = 0;
    }
  }
  convertWaiting(layer, waiting, inferenceNumber, timestep);
}

/** One timestep of a layer, from the drive codes of its input to those of the next one's. */
export function stepLayer(layer: Layer, inferenceNumber: u32, timestep: i32): void {
  layer.drives = 0;
  layer.saturations = 0;
  countPlanes(layer);
  if (layer.differences != 0) {
    gatherPairs(layer);
    bookGrids(layer);
    const rowBytes = <usize>(layer.positionColumns * layer.neuronStride) << 2;
    for (let row = 0, sums = layer.sumsOfOutputs; row < layer.positionRows; row++, sums += rowBytes) addPositions(layer, row, sums);
  } else {
    if (layer.tileCount == 1) markPlanes(layer);
    convertPositions(layer, inferenceNumber, timestep);
  }
  fire(layer);
  if (layer.output != 0) pool(layer);
}

/** Event counts of a frame, channel by channel, into the first layer's input, channels innermost. */
export function placeFrame(frame: usize, channels: i32, height: i32, width: i32, input: usize, rowBytes: u32, pixelBytes: u32): void {
  for (let channel = 0; channel < channels; channel++) {
    for (let row = 0; row < height; row++) {
      let pixel = input + <usize>row * rowBytes + (<usize>channel << 1);
      for (const end = frame + width; frame < end; frame++, pixel += pixelBytes) store<u16>(pixel, load<u8>(frame));
    }
  }
}
