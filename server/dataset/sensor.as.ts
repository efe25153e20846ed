// The pixels of the camera, millisecond by millisecond: the one part of filming that sixty thousand digits wait for. Light, levels and thresholds
// are float32, arithmetic is float64, and nothing is relaxed: the same bits on every machine.

/** Sensor and screen; camera.ts has the same numbers. */
const fieldPixels: i32 = 34;
const fieldCount: i32 = 34 * 34;
const screenPixels: i32 = 52;
const lightLevels: f64 = 4096;
const stepMicroseconds: f64 = 1000;
/** Keys of events that one film may hold. */
const eventsMaximum: i32 = 1 << 18;

// xoshiro128** (Blackman and Vigna 2018).
let s0: u32 = 0, s1: u32 = 0, s2: u32 = 0, s3: u32 = 0;

/** Word `index` of splitmix32. */
function seedWord(seed: u32, index: u32): u32 {
  const z = seed + (index + 1) * 0x9e3779b9;
  let mixed = (z ^ (z >>> 16)) * 0x21f0aaad;
  mixed = (mixed ^ (mixed >>> 15)) * 0x735a2d97;
  return mixed ^ (mixed >>> 15);
}

export function begin(seed: u32): void {
  s0 = seedWord(seed, 0);
  s1 = seedWord(seed, 1);
  s2 = seedWord(seed, 2);
  s3 = seedWord(seed, 3);
}

/** Uniform in [0, 1). */
function uniform(): f64 {
  const result = rotl<u32>(s1 * 5, 7) * 9;
  const shifted = s1 << 9;
  s2 ^= s0;
  s3 ^= s1;
  s1 ^= s2;
  s0 ^= s3;
  s2 ^= shifted;
  s3 = rotl<u32>(s3, 11);
  return <f64>result / 4294967296.0;
}

/** Nearly normal, from sums of uniforms: the same digits on every platform, and tails that end at 6. */
export function normal(): f64 {
  let sum: f64 = -6;
  for (let term = 0; term < 12; term++) sum += uniform();
  return sum;
}

// Places of the arrays. One element a pixel, float32, but for the times until when each is blind.
let light: usize = 0, level: usize = 0, reference: usize = 0, onThreshold: usize = 0, offThreshold: usize = 0, blindUntil: usize = 0;
/** First and last column with ink of each row of the screen, i32; and of each row of the sensor, the columns that ever see some. */
let inked: usize = 0, swept: usize = 0;
let events: usize = 0;
let eventCount: i32 = 0;

/** @param at where `sensorBytes` bytes are free, a multiple of 16 */
export function place(at: usize): void {
  const floats = <usize>fieldCount * 4;
  light = at;
  level = light + floats;
  reference = level + floats;
  onThreshold = reference + floats;
  offThreshold = onThreshold + floats;
  blindUntil = offThreshold + floats;
  inked = blindUntil + 2 * floats;
  swept = inked + <usize>screenPixels * 8;
  events = swept + <usize>fieldPixels * 8;
}

/** Bytes that `place` needs. */
export function sensorBytes(): i32 {
  return fieldCount * (5 * 4 + 8) + (screenPixels + fieldPixels) * 8 + eventsMaximum * 8;
}

/** Where the keys of the events of the last film are: f64, (time in µs · 2 048 + pixel) · 2 + polarity. */
export function eventKeys(): usize {
  return events;
}

/** A span of columns; none where first > last. */
function setSpan(spans: usize, row: i32, first: i32, last: i32): void {
  store<i32>(spans + (<usize>row << 3), first);
  store<i32>(spans + (<usize>row << 3), last, 4);
}

@inline function firstOf(spans: usize, row: i32): i32 {
  return load<i32>(spans + (<usize>row << 3));
}

@inline function lastOf(spans: usize, row: i32): i32 {
  return load<i32>(spans + (<usize>row << 3), 4);
}

function findInk(screen: usize): void {
  for (let row = 0; row < screenPixels; row++) {
    let first = screenPixels, last = -1;
    for (let column = 0; column < screenPixels; column++) {
      if (load<f32>(screen + (<usize>(row * screenPixels + column) << 2)) == 0) continue;
      first = min(first, column);
      last = column;
    }
    setSpan(inked, row, first, last);
  }
}

/** First column of the sensor's row y that sees ink, made even: pixels go in twos. */
@inline function firstSeen(row: i32, left: i32): i32 {
  return max(0, min(firstOf(inked, row), firstOf(inked, row + 1)) - 1 - left) & ~1;
}

/** Behind the last one. */
@inline function endSeen(row: i32, left: i32): i32 {
  return (min(fieldPixels - 1, max(lastOf(inked, row), lastOf(inked, row + 1)) - left) + 2) & ~1;
}

/** Finds the columns of each row that see ink anywhere on the way. */
function findSwept(places: usize, steps: i32): void {
  for (let y = 0; y < fieldPixels; y++) setSpan(swept, y, fieldPixels, 0);
  for (let step = 0; step <= steps; step++) {
    const at = places + (<usize>step << 4);
    const left = <i32>floor(load<f64>(at)), top = <i32>floor(load<f64>(at + 8));
    for (let y = 0; y < fieldPixels; y++) {
      const first = firstSeen(top + y, left), end = endSeen(top + y, left);
      if (first < end) setSpan(swept, y, min(firstOf(swept, y), first), max(lastOf(swept, y), end));
    }
  }
}

@inline function promoted(place: usize): v128 {
  return f64x2.promote_low_f32x4(v128.load64_zero(place));
}

@inline function storeDemoted(place: usize, doubles: v128): void {
  v128.store64_lane(place, f32x4.demote_f64x2_zero(doubles), 0);
}

@inline function between(left: v128, right: v128, part: v128): v128 {
  return f64x2.add(left, f64x2.mul(part, f64x2.sub(right, left)));
}

/** Log light of each pixel where the sensor's corner is at this column and row of the screen. */
function look(screen: usize, table: usize, fromX: f64, fromY: f64): void {
  const left = <i32>floor(fromX), top = <i32>floor(fromY);
  const u = f64x2.splat(fromX - <f64>left), v = f64x2.splat(fromY - <f64>top);
  const levels = f64x2.splat(lightLevels), half = f64x2.splat(0.5);
  const rowBytes: usize = <usize>screenPixels << 2;
  memory.fill(light, 0, <usize>fieldCount * 4);
  for (let y = 0; y < fieldPixels; y++) {
    const end = endSeen(top + y, left);
    for (let x = firstSeen(top + y, left); x < end; x += 2) {
      const at = screen + (<usize>((top + y) * screenPixels + left + x) << 2);
      const upper = between(promoted(at), promoted(at + 4), u);
      const lower = between(promoted(at + rowBytes), promoted(at + rowBytes + 4), u);
      const ink = f64x2.add(f64x2.mul(between(upper, lower, v), levels), half);
      const level = i32x4.trunc_sat_f64x2_u_zero(ink);
      const result = light + (<usize>(y * fieldPixels + x) << 2);
      store<f32>(result, load<f32>(table + (<usize>i32x4.extract_lane(level, 0) << 2)));
      store<f32>(result, load<f32>(table + (<usize>i32x4.extract_lane(level, 1) << 2)), 4);
    }
  }
}

function send(time: f64, pixel: i32, polarity: i32): void {
  if (eventCount < eventsMaximum) store<f64>(events + (<usize>eventCount << 3), (floor(time) * 2048 + <f64>pixel) * 2 + <f64>polarity);
  eventCount++;
}

/** Sends what a pixel has to say in the step that ends at `end`, in which its level went from `before` to `after`. */
function cross(pixel: i32, before: f64, after: f64, end: f64, refractory: f64): void {
  const start = end - stepMicroseconds;
  const slope = (after - before) / stepMicroseconds;
  const place = <usize>pixel << 2;
  const on = <f64>load<f32>(onThreshold + place), off = <f64>load<f32>(offThreshold + place);
  let now = start;
  while (true) {
    const blind = load<f64>(blindUntil + (place << 1));
    if (blind >= end) return;
    if (blind > now) {
      now = blind;
      store<f32>(reference + place, <f32>(before + slope * (now - start)));
    }
    const from = <f64>load<f32>(reference + place);
    const change = after - from;
    const polarity = change >= on ? 1 : change <= -off ? 0 : -1;
    if (polarity < 0) return;
    const threshold = polarity == 1 ? on : -off;
    if (slope != 0) now = min(end, max(now, start + (from + threshold - before) / slope));
    send(now, pixel, polarity);
    store<f32>(reference + place, <f32>(from + threshold));
    store<f64>(blindUntil + (place << 1), now + refractory);
  }
}

/** For each of two pixels a bit: it has seen no change that it would send, and is not blind. */
@inline function quietOf(change: v128, place: usize, start: v128): i32 {
  const isBelow = f64x2.lt(change, promoted(onThreshold + place));
  const isAbove = f64x2.gt(change, f64x2.neg(promoted(offThreshold + place)));
  const sees = f64x2.le(v128.load(blindUntil + (place << 1)), start);
  return i64x2.bitmask(v128.and(v128.and(isBelow, isAbove), sees));
}

@inline function crossTwo(pixel: i32, quiet: i32, before: v128, after: v128, end: f64, refractory: f64): void {
  if ((quiet & 1) == 0) cross(pixel, f64x2.extract_lane(before, 0), f64x2.extract_lane(after, 0), end, refractory);
  if ((quiet & 2) == 0) cross(pixel + 1, f64x2.extract_lane(before, 1), f64x2.extract_lane(after, 1), end, refractory);
}

/** Pixels that see ink on the way follow their light over the step that ends at `end`, and send what crosses a threshold. */
function follow(part: f64, leak: f64, end: f64, refractory: f64): void {
  const parts = f64x2.splat(part), leaks = f64x2.splat(leak), start = f64x2.splat(end - stepMicroseconds);
  for (let y = 0; y < fieldPixels; y++) {
    const endPixel = y * fieldPixels + lastOf(swept, y);
    for (let pixel = y * fieldPixels + firstOf(swept, y); pixel < endPixel; pixel += 2) {
      const place = <usize>pixel << 2;
      const before = promoted(level + place);
      const after = between(before, promoted(light + place), parts);
      const leaked = f64x2.sub(promoted(reference + place), leaks);
      storeDemoted(level + place, after);
      storeDemoted(reference + place, leaked);
      const quiet = quietOf(f64x2.sub(after, leaked), place, start);
      if (quiet != 3) crossTwo(pixel, quiet, before, after, end, refractory);
    }
  }
}

/** Two pixels that see no ink at all leak through the whole film. */
function leakTwo(pixel: i32, leak: f64, steps: i32, refractory: f64): void {
  const leaks = f64x2.splat(leak), dark = f64x2.splat(0);
  const place = <usize>pixel << 2;
  let from = promoted(reference + place);
  for (let step = 1; step <= steps; step++) {
    const end = <f64>step * stepMicroseconds;
    const leaked = f64x2.sub(from, leaks);
    const quiet = quietOf(f64x2.sub(dark, leaked), place, f64x2.splat(end - stepMicroseconds));
    from = f64x2.promote_low_f32x4(f32x4.demote_f64x2_zero(leaked));
    if (quiet == 3) continue;
    storeDemoted(reference + place, leaked);
    crossTwo(pixel, quiet, dark, dark, end, refractory);
    from = promoted(reference + place);
  }
}

function leakOthers(leak: f64, steps: i32, refractory: f64): void {
  for (let y = 0; y < fieldPixels; y++) {
    for (let x = 0; x < fieldPixels; x += 2) {
      if (x < firstOf(swept, y) || x >= lastOf(swept, y)) leakTwo(y * fieldPixels + x, leak, steps, refractory);
    }
  }
}

/** Events without cause. */
function addNoise(expected: f64, end: f64): void {
  let count = <i32>floor(expected) + (uniform() < expected - floor(expected) ? 1 : 0);
  for (; count > 0; count--) {
    const pixel = <i32>floor(uniform() * <f64>fieldCount);
    const polarity = uniform() < 0.5 ? 0 : 1;
    send(end - uniform() * stepMicroseconds, pixel, polarity);
  }
}

/**
 * Draws the thresholds of every pixel, about those of the sensor's pattern. Each has looked at the still digit for long: its leak has brought it
 * somewhere on its way to an ON event.
 */
function settle(pattern: usize, on: f64, off: f64, mismatch: f64): void {
  for (let pixel = 0; pixel < fieldCount; pixel++) {
    const place = <usize>pixel << 2;
    const onMean = on * <f64>load<f32>(pattern + place), offMean = off * <f64>load<f32>(pattern + place + <usize>fieldCount * 4);
    const onOfPixel = <f32>(onMean * max(0.2, 1 + mismatch * normal()));
    store<f32>(onThreshold + place, onOfPixel);
    store<f32>(offThreshold + place, <f32>(offMean * max(0.2, 1 + mismatch * normal())));
    const seen = load<f32>(light + place);
    store<f32>(level + place, seen);
    store<f32>(reference + place, <f32>(<f64>seen - uniform() * <f64>onOfPixel));
    store<f64>(blindUntil + (place << 1), 0);
  }
}

/**
 * Films the screen. The keys of its events are at `eventKeys`, in no order.
 *
 * @param pattern what each pixel's ON, then OFF threshold is, relative to all; f32
 * @param places column and row of the screen (f64) at the sensor's corner, at the start and behind each step
 * @returns number of events; above `eventsMaximum` some are lost
 */
export function film(
  screen: usize, table: usize, pattern: usize, places: usize, steps: i32,
  on: f64, off: f64, mismatch: f64, part: f64, leak: f64, refractory: f64, noise: f64,
): i32 {
  eventCount = 0;
  findInk(screen);
  findSwept(places, steps);
  look(screen, table, load<f64>(places), load<f64>(places + 8));
  settle(pattern, on, off, mismatch);
  for (let step = 1; step <= steps; step++) {
    const at = places + (<usize>step << 4);
    const end = <f64>step * stepMicroseconds;
    look(screen, table, load<f64>(at), load<f64>(at + 8));
    follow(part, leak, end, refractory);
    addNoise(noise, end);
  }
  leakOthers(leak, steps, refractory);
  return eventCount;
}
