// The sweeps of line-resistance.ts, two lines at a time, in the same order of operations. No relaxed SIMD: the same bits everywhere.
// Addresses are those of fields of float64, one value a cell, padded to multiples of eight lines.

/** Columns of a strip whose rows stay in the processor's cache between the two halves of a sweep along source lines. */
const stripBytes: usize = 512;

// @ts-ignore: decorator
@inline
function evens(a: v128, b: v128): v128 {
  return v128.shuffle<f64>(a, b, 0, 2);
}

// @ts-ignore: decorator
@inline
function odds(a: v128, b: v128): v128 {
  return v128.shuffle<f64>(a, b, 1, 3);
}

// @ts-ignore: decorator
@inline
function pivotOf(at: usize, coupling: usize, pivots: usize, diagonal: f64, scale: f64, beyond: f64): f64 {
  const pivot = 1 / (diagonal + scale * load<f64>(coupling + at) - beyond);
  store<f64>(pivots + at, pivot);
  return pivot;
}

/** Four bit lines at once, because each division waits for the one before it on its line. */
function factoriseBitLines(rows: i32, columns: i32, coupling: usize, pivots: usize, driverScale: f64, scale: f64): void {
  const rowBytes = <usize>columns * 8;
  for (let row = 0; row < rows; row += 4) {
    const a = <usize>row * rowBytes;
    const b = a + rowBytes;
    const c = b + rowBytes;
    const d = c + rowBytes;
    let beyondA: f64 = 1;
    let beyondB: f64 = 1;
    let beyondC: f64 = 1;
    let beyondD: f64 = 1;
    for (let column = rowBytes; column > 0; ) {
      column -= 8;
      const diagonal: f64 = column == 0 ? 1 + driverScale : 2;
      beyondA = pivotOf(a + column, coupling, pivots, diagonal, scale, beyondA);
      beyondB = pivotOf(b + column, coupling, pivots, diagonal, scale, beyondB);
      beyondC = pivotOf(c + column, coupling, pivots, diagonal, scale, beyondC);
      beyondD = pivotOf(d + column, coupling, pivots, diagonal, scale, beyondD);
    }
  }
}

function factoriseSourceLines(rows: i32, columns: i32, coupling: usize, pivots: usize, scale: f64): void {
  const rowBytes = <usize>columns * 8;
  const one = f64x2.splat(1);
  const two = f64x2.splat(2);
  const scales = f64x2.splat(scale);
  for (let row = rows - 1; row >= 0; row--) {
    const first = <usize>row * rowBytes;
    for (let at = first; at < first + rowBytes; at += 16) {
      const beyond = row == rows - 1 ? one : v128.load(pivots + at + rowBytes);
      v128.store(pivots + at, f64x2.div(one, f64x2.sub(f64x2.add(two, f64x2.mul(scales, v128.load(coupling + at))), beyond)));
    }
  }
}

export function factorise(
  rows: i32, columns: i32, coupling: usize, bitPivots: usize, sourcePivots: usize, driverScale: f64, bitScale: f64, sourceScale: f64,
): void {
  factoriseBitLines(rows, columns, coupling, bitPivots, driverScale, bitScale);
  factoriseSourceLines(rows, columns, coupling, sourcePivots, sourceScale);
}

/** New search directions of two cells of a bit line. @returns their product with the coupling */
// @ts-ignore: decorator
@inline
function direct(at: usize, coupling: usize, residual: usize, search: usize, betas: v128): v128 {
  const direction = f64x2.add(v128.load(residual + at), f64x2.mul(betas, v128.load(search + at)));
  v128.store(search + at, direction);
  return f64x2.mul(v128.load(coupling + at), direction);
}

/** Answers of two cells of a bit line. @returns their product with the search direction */
// @ts-ignore: decorator
@inline
function answerOf(at: usize, coupling: usize, search: usize, answer: usize, voltages: v128): v128 {
  const sent = f64x2.mul(v128.load(coupling + at), voltages);
  v128.store(answer + at, sent);
  return f64x2.mul(v128.load(search + at), sent);
}

// @ts-ignore: decorator
@inline
function sumOf(lanes: v128): f64 {
  return f64x2.extract_lane(lanes, 0) + f64x2.extract_lane(lanes, 1);
}

/**
 * Four bit lines as two pairs, two columns a step: a pair's voltages lie in the two lanes, and two chains of dependent operations run at once.
 * Between the halves the voltages of the elimination lie in `scratch`, four lines a column.
 */
export function alongBitLines(
  rows: i32, columns: i32, coupling: usize, pivots: usize, residual: usize, search: usize, answer: usize, ends: usize, scratch: usize, beta: f64,
): f64 {
  const rowBytes = <usize>columns * 8;
  const betas = f64x2.splat(beta);
  let total: f64 = 0;
  for (let row = 0; row < rows; row += 4) {
    const a = <usize>row * rowBytes;
    const b = a + rowBytes;
    const c = b + rowBytes;
    const d = c + rowBytes;
    let voltages = f64x2.splat(0);
    let otherVoltages = f64x2.splat(0);
    let kept = scratch + rowBytes * 4;
    for (let column = rowBytes; column > 0; ) {
      column -= 16;
      kept -= 64;
      const fromA = direct(a + column, coupling, residual, search, betas);
      const fromB = direct(b + column, coupling, residual, search, betas);
      const fromC = direct(c + column, coupling, residual, search, betas);
      const fromD = direct(d + column, coupling, residual, search, betas);
      const pivotA = v128.load(pivots + a + column);
      const pivotB = v128.load(pivots + b + column);
      const pivotC = v128.load(pivots + c + column);
      const pivotD = v128.load(pivots + d + column);
      voltages = f64x2.mul(f64x2.add(odds(fromA, fromB), voltages), odds(pivotA, pivotB));
      otherVoltages = f64x2.mul(f64x2.add(odds(fromC, fromD), otherVoltages), odds(pivotC, pivotD));
      v128.store(kept, voltages, 32);
      v128.store(kept, otherVoltages, 48);
      voltages = f64x2.mul(f64x2.add(evens(fromA, fromB), voltages), evens(pivotA, pivotB));
      otherVoltages = f64x2.mul(f64x2.add(evens(fromC, fromD), otherVoltages), evens(pivotC, pivotD));
      v128.store(kept, voltages);
      v128.store(kept, otherVoltages, 16);
    }
    const end = ends + <usize>row * 8;
    v128.store(end, voltages);
    v128.store(end, otherVoltages, 16);
    voltages = f64x2.splat(0);
    otherVoltages = f64x2.splat(0);
    let productA = f64x2.splat(0);
    let productB = f64x2.splat(0);
    let productC = f64x2.splat(0);
    let productD = f64x2.splat(0);
    for (let column: usize = 0; column < rowBytes; column += 16) {
      const pivotA = v128.load(pivots + a + column);
      const pivotB = v128.load(pivots + b + column);
      const pivotC = v128.load(pivots + c + column);
      const pivotD = v128.load(pivots + d + column);
      const even = f64x2.add(v128.load(kept), f64x2.mul(evens(pivotA, pivotB), voltages));
      const otherEven = f64x2.add(v128.load(kept, 16), f64x2.mul(evens(pivotC, pivotD), otherVoltages));
      voltages = f64x2.add(v128.load(kept, 32), f64x2.mul(odds(pivotA, pivotB), even));
      otherVoltages = f64x2.add(v128.load(kept, 48), f64x2.mul(odds(pivotC, pivotD), otherEven));
      productA = f64x2.add(productA, answerOf(a + column, coupling, search, answer, evens(even, voltages)));
      productB = f64x2.add(productB, answerOf(b + column, coupling, search, answer, odds(even, voltages)));
      productC = f64x2.add(productC, answerOf(c + column, coupling, search, answer, evens(otherEven, otherVoltages)));
      productD = f64x2.add(productD, answerOf(d + column, coupling, search, answer, odds(otherEven, otherVoltages)));
      kept += 64;
    }
    total += sumOf(productA);
    total += sumOf(productB);
    total += sumOf(productC);
    total += sumOf(productD);
  }
  return total;
}

/** Columns of a strip, row by row; `scratch` holds a product a column, and is followed by as many zeros, which stand for the rows outside. */
export function alongSourceLines(
  rows: i32, columns: i32, pivots: usize, residual: usize, search: usize, answer: usize, scratch: usize, alpha: f64,
): f64 {
  const rowBytes = <usize>columns * 8;
  const bytes = <usize>rows * rowBytes;
  const alphas = f64x2.splat(alpha);
  const zeros = scratch + rowBytes;
  memory.fill(scratch, 0, rowBytes * 2);
  for (let strip: usize = 0; strip < rowBytes; strip += stripBytes) {
    const width = min(stripBytes, rowBytes - strip);
    let beyond = zeros;
    for (let row = answer + bytes - rowBytes + strip; row >= answer; row -= rowBytes) {
      const pivot = pivots + (row - answer);
      for (let at: usize = 0; at < width; at += 16) {
        const sum = f64x2.add(v128.load(row + at), v128.load(beyond + at));
        const voltages = f64x2.mul(sum, v128.load(pivot + at));
        const product = scratch + strip + at;
        v128.store(product, f64x2.add(v128.load(product), f64x2.mul(sum, voltages)));
        v128.store(row + at, voltages);
      }
      beyond = row;
    }
    let before = zeros;
    for (let row = answer + strip; row < answer + bytes; row += rowBytes) {
      const offset = row - answer;
      for (let at: usize = 0; at < width; at += 16) {
        const voltages = f64x2.add(v128.load(row + at), f64x2.mul(v128.load(pivots + offset + at), v128.load(before + at)));
        v128.store(row + at, voltages);
        const here = residual + offset + at;
        v128.store(here, f64x2.sub(v128.load(here), f64x2.mul(alphas, f64x2.sub(v128.load(search + offset + at), voltages))));
      }
      before = row;
    }
  }
  let total: f64 = 0;
  for (let at: usize = 0; at < rowBytes; at += 8) total += load<f64>(scratch + at);
  return total;
}
