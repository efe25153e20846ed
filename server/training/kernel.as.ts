// The arithmetic of training, in float32 SIMD. Inputs are sparse, so that the currents and the gradient of the weights visit only inputs that are not
// zero; sums stay in registers over a whole window. Everything lies pixel by pixel, channels innermost; what is summed is padded to a multiple of four
// channels. A linear layer is a convolution of one window. No relaxed SIMD: the same bits everywhere.

/** The shape of a layer and where its parts are; gradient.ts fills it in. */
@unmanaged class Layer {
  inputHeight: i32;
  inputWidth: i32;
  inputChannels: i32;
  kernelHeight: i32;
  kernelWidth: i32;
  padding: i32;
  stride: i32;
  outputHeight: i32;
  outputWidth: i32;
  /** As there are, and padded. */
  outputChannels: i32;
  outputs: i32;
  poolSize: i32;
  /** [ky][kx][channel][output] */
  weights: usize;
  /** [ky][kx][output][channel, padded] */
  transposed: usize;
  /** As the weights. */
  gradient: usize;
  /** Inputs that are not zero, row by row in places of equal size. */
  inputs: usize;
  /** [row][pixel, and one more]: how many inputs of the row are before it. */
  before: usize;
  /** The inputs of one window. */
  window: usize;
  /** Of one timestep, [position][output]. */
  currents: usize;
  /** ∂L/∂(current) of the timestep after, then of this one. */
  errors: usize;
  /** Of what four windows add to the errors of their inputs. */
  sums: usize;
  /** What a code of the input stands for. */
  inputScale: f32;
  leak: f32;
  slope: f32;
  threshold: f32;
  /** The slope of a spike is taken as 1 where the membrane is this near to the threshold. */
  surrogateWindow: f32;
}

/** An input that is not zero: from the weights of the first input of its row to its own, in bytes, and what it stands for. */
@unmanaged class Input {
  offset: u32;
  value: f32;
}

@inline function rowBytes(layer: Layer): usize {
  return <usize>layer.outputs << 2;
}

@inline function placesOfRow(layer: Layer): usize {
  return <usize>(layer.inputWidth * layer.inputChannels) * offsetof<Input>();
}

/** Lists the inputs that are not zero. @param codes uint8 [row][pixel][channel] */
function listInputs(layer: Layer, codes: usize): void {
  const bytes = <u32>rowBytes(layer);
  const channels = layer.inputChannels;
  let before = layer.before;
  for (let y = 0, row = layer.inputs; y < layer.inputHeight; y++, row += placesOfRow(layer)) {
    let offset: u32 = 0;
    let next = row;
    for (let x = 0; x < layer.inputWidth; x++, before += 4) {
      store<u32>(before, <u32>(next - row) >> 3);
      for (let channel = 0; channel < channels; channel++, codes++, offset += bytes) {
        const code = load<u8>(codes);
        if (code == 0) continue;
        const input = changetype<Input>(next);
        input.offset = offset;
        input.value = <f32>code * layer.inputScale;
        next += offsetof<Input>();
      }
    }
    store<u32>(before, <u32>(next - row) >> 3);
    before += 4;
  }
}

/** Lists the inputs of the window of a position, each with the place of its weights. @returns the end of the list */
function listWindow(layer: Layer, row: i32, column: i32): usize {
  const top = row * layer.stride - layer.padding;
  const left = column * layer.stride - layer.padding;
  const first = <usize>min(max(left, 0), layer.inputWidth) << 2;
  const last = <usize>min(max(left + layer.kernelWidth, 0), layer.inputWidth) << 2;
  const pixelBytes = layer.inputChannels * layer.outputs * 4;
  const end = min(layer.kernelHeight, layer.inputHeight - top);
  let next = layer.window;
  for (let ky = max(0, -top); ky < end; ky++) {
    const before = layer.before + <usize>((top + ky) * (layer.inputWidth + 1)) * 4;
    const inputs = layer.inputs + <usize>(top + ky) * placesOfRow(layer);
    const stop = inputs + (<usize>load<u32>(before + last) << 3);
    const shift = i64x2.splat(<i64><u32>((ky * layer.kernelWidth - left) * pixelBytes));
    let from = inputs + (<usize>load<u32>(before + first) << 3);
    const count = stop - from;
    // Two at a time; one past the end is written over by the next row.
    for (let to = next; from < stop; from += 16, to += 16) v128.store(to, i32x4.add(v128.load(from), shift));
    next += count;
  }
  return next;
}

/** Sums of 32 outputs over a window. */
function sum8(input: usize, end: usize, weights: usize, sums: usize): void {
  let s0 = f32x4.splat(0), s1 = f32x4.splat(0), s2 = f32x4.splat(0), s3 = f32x4.splat(0);
  let s4 = f32x4.splat(0), s5 = f32x4.splat(0), s6 = f32x4.splat(0), s7 = f32x4.splat(0);
  for (; input < end; input += 8) {
    const weight = weights + load<u32>(input);
    const value = v128.load32_splat(input, 4);
    s0 = f32x4.add(s0, f32x4.mul(value, v128.load(weight)));
    s1 = f32x4.add(s1, f32x4.mul(value, v128.load(weight, 16)));
    s2 = f32x4.add(s2, f32x4.mul(value, v128.load(weight, 32)));
    s3 = f32x4.add(s3, f32x4.mul(value, v128.load(weight, 48)));
    s4 = f32x4.add(s4, f32x4.mul(value, v128.load(weight, 64)));
    s5 = f32x4.add(s5, f32x4.mul(value, v128.load(weight, 80)));
    s6 = f32x4.add(s6, f32x4.mul(value, v128.load(weight, 96)));
    s7 = f32x4.add(s7, f32x4.mul(value, v128.load(weight, 112)));
  }
  v128.store(sums, s0);
  v128.store(sums, s1, 16);
  v128.store(sums, s2, 32);
  v128.store(sums, s3, 48);
  v128.store(sums, s4, 64);
  v128.store(sums, s5, 80);
  v128.store(sums, s6, 96);
  v128.store(sums, s7, 112);
}

/** Sums of 12 outputs. */
function sum3(input: usize, end: usize, weights: usize, sums: usize): void {
  let s0 = f32x4.splat(0), s1 = f32x4.splat(0), s2 = f32x4.splat(0);
  for (; input < end; input += 8) {
    const weight = weights + load<u32>(input);
    const value = v128.load32_splat(input, 4);
    s0 = f32x4.add(s0, f32x4.mul(value, v128.load(weight)));
    s1 = f32x4.add(s1, f32x4.mul(value, v128.load(weight, 16)));
    s2 = f32x4.add(s2, f32x4.mul(value, v128.load(weight, 32)));
  }
  v128.store(sums, s0);
  v128.store(sums, s1, 16);
  v128.store(sums, s2, 32);
}

/** Sums of 4 outputs. */
function sum1(input: usize, end: usize, weights: usize, sums: usize): void {
  let sum = f32x4.splat(0);
  for (; input < end; input += 8) sum = f32x4.add(sum, f32x4.mul(v128.load32_splat(input, 4), v128.load(weights + load<u32>(input))));
  v128.store(sums, sum);
}

/** currents[position][output] = Σ input · weight over the window of the position. @param codes uint8 [row][pixel][channel] */
export function convolve(layer: Layer, codes: usize): void {
  listInputs(layer, codes);
  const bytes = rowBytes(layer);
  const weights = layer.weights;
  let sums = layer.currents;
  for (let row = 0; row < layer.outputHeight; row++) {
    for (let column = 0; column < layer.outputWidth; column++, sums += bytes) {
      const end = listWindow(layer, row, column);
      let output: usize = 0;
      for (; output + 128 <= bytes; output += 128) sum8(layer.window, end, weights + output, sums + output);
      for (; output + 48 <= bytes; output += 48) sum3(layer.window, end, weights + output, sums + output);
      for (; output < bytes; output += 16) sum1(layer.window, end, weights + output, sums + output);
    }
  }
}

/** The errors of 32 outputs to the gradients of a window's weights. */
function spread8(input: usize, end: usize, gradient: usize, errors: usize): void {
  const e0 = v128.load(errors), e1 = v128.load(errors, 16), e2 = v128.load(errors, 32), e3 = v128.load(errors, 48);
  const e4 = v128.load(errors, 64), e5 = v128.load(errors, 80), e6 = v128.load(errors, 96), e7 = v128.load(errors, 112);
  for (; input < end; input += 8) {
    const slope = gradient + load<u32>(input);
    const value = v128.load32_splat(input, 4);
    v128.store(slope, f32x4.add(v128.load(slope), f32x4.mul(value, e0)));
    v128.store(slope, f32x4.add(v128.load(slope, 16), f32x4.mul(value, e1)), 16);
    v128.store(slope, f32x4.add(v128.load(slope, 32), f32x4.mul(value, e2)), 32);
    v128.store(slope, f32x4.add(v128.load(slope, 48), f32x4.mul(value, e3)), 48);
    v128.store(slope, f32x4.add(v128.load(slope, 64), f32x4.mul(value, e4)), 64);
    v128.store(slope, f32x4.add(v128.load(slope, 80), f32x4.mul(value, e5)), 80);
    v128.store(slope, f32x4.add(v128.load(slope, 96), f32x4.mul(value, e6)), 96);
    v128.store(slope, f32x4.add(v128.load(slope, 112), f32x4.mul(value, e7)), 112);
  }
}

/** The errors of 12 outputs. */
function spread3(input: usize, end: usize, gradient: usize, errors: usize): void {
  const e0 = v128.load(errors), e1 = v128.load(errors, 16), e2 = v128.load(errors, 32);
  for (; input < end; input += 8) {
    const slope = gradient + load<u32>(input);
    const value = v128.load32_splat(input, 4);
    v128.store(slope, f32x4.add(v128.load(slope), f32x4.mul(value, e0)));
    v128.store(slope, f32x4.add(v128.load(slope, 16), f32x4.mul(value, e1)), 16);
    v128.store(slope, f32x4.add(v128.load(slope, 32), f32x4.mul(value, e2)), 32);
  }
}

/** The errors of 4 outputs. */
function spread1(input: usize, end: usize, gradient: usize, errors: usize): void {
  const error = v128.load(errors);
  for (; input < end; input += 8) {
    const slope = gradient + load<u32>(input);
    v128.store(slope, f32x4.add(v128.load(slope), f32x4.mul(v128.load32_splat(input, 4), error)));
  }
}

/** gradient[ky][kx][channel][output] += Σ input · error over all positions. @param codes those of the timestep, as `convolve` had them */
export function addWeightGradient(layer: Layer, codes: usize): void {
  listInputs(layer, codes);
  const bytes = rowBytes(layer);
  const gradient = layer.gradient;
  let errors = layer.errors;
  for (let row = 0; row < layer.outputHeight; row++) {
    for (let column = 0; column < layer.outputWidth; column++, errors += bytes) {
      const end = listWindow(layer, row, column);
      let output: usize = 0;
      for (; output + 128 <= bytes; output += 128) spread8(layer.window, end, gradient + output, errors + output);
      for (; output + 48 <= bytes; output += 48) spread3(layer.window, end, gradient + output, errors + output);
      for (; output < bytes; output += 16) spread1(layer.window, end, gradient + output, errors + output);
    }
  }
}

/** What the errors of four positions, one beside the other, mean for 12 channels of one pixel of each window. */
function propagate12(errors: usize, bytes: usize, count: usize, weights: usize, weightBytes: usize, sums: usize): void {
  let a0 = f32x4.splat(0), a1 = f32x4.splat(0), a2 = f32x4.splat(0), b0 = f32x4.splat(0), b1 = f32x4.splat(0), b2 = f32x4.splat(0);
  let c0 = f32x4.splat(0), c1 = f32x4.splat(0), c2 = f32x4.splat(0), d0 = f32x4.splat(0), d1 = f32x4.splat(0), d2 = f32x4.splat(0);
  const second = bytes, third = bytes << 1, fourth = third + bytes;
  for (const end = errors + count; errors < end; errors += 4, weights += weightBytes) {
    const w0 = v128.load(weights), w1 = v128.load(weights, 16), w2 = v128.load(weights, 32);
    let error = v128.load32_splat(errors);
    a0 = f32x4.add(a0, f32x4.mul(error, w0));
    a1 = f32x4.add(a1, f32x4.mul(error, w1));
    a2 = f32x4.add(a2, f32x4.mul(error, w2));
    error = v128.load32_splat(errors + second);
    b0 = f32x4.add(b0, f32x4.mul(error, w0));
    b1 = f32x4.add(b1, f32x4.mul(error, w1));
    b2 = f32x4.add(b2, f32x4.mul(error, w2));
    error = v128.load32_splat(errors + third);
    c0 = f32x4.add(c0, f32x4.mul(error, w0));
    c1 = f32x4.add(c1, f32x4.mul(error, w1));
    c2 = f32x4.add(c2, f32x4.mul(error, w2));
    error = v128.load32_splat(errors + fourth);
    d0 = f32x4.add(d0, f32x4.mul(error, w0));
    d1 = f32x4.add(d1, f32x4.mul(error, w1));
    d2 = f32x4.add(d2, f32x4.mul(error, w2));
  }
  v128.store(sums, a0);
  v128.store(sums, a1, 16);
  v128.store(sums, a2, 32);
  v128.store(sums, b0, 48);
  v128.store(sums, b1, 64);
  v128.store(sums, b2, 80);
  v128.store(sums, c0, 96);
  v128.store(sums, c1, 112);
  v128.store(sums, c2, 128);
  v128.store(sums, d0, 144);
  v128.store(sums, d1, 160);
  v128.store(sums, d2, 176);
}

/** The same for one position and 4 channels. */
@inline function propagate1(errors: usize, count: usize, weights: usize, weightBytes: usize): v128 {
  let sum = f32x4.splat(0);
  for (const end = errors + count; errors < end; errors += 4, weights += weightBytes) {
    sum = f32x4.add(sum, f32x4.mul(v128.load32_splat(errors), v128.load(weights)));
  }
  return sum;
}

/** Adds to the error of an input, times what a code of it stands for. */
@inline function addError(at: usize, scale: v128, sum: v128): void {
  v128.store(at, f32x4.add(v128.load(at), f32x4.mul(scale, sum)));
}

/** One pixel of the windows of `count` positions of a row, from a column on: 4, or fewer at the end of the row. */
function propagatePixel(layer: Layer, errors: usize, weights: usize, column: i32, count: i32, x: i32, row: usize): void {
  const bytes = rowBytes(layer);
  const used = <usize>layer.outputChannels << 2;
  const pixelBytes = <usize>((layer.inputChannels + 3) & ~3) << 2;
  const scale = f32x4.splat(layer.inputScale);
  const sums = layer.sums;
  let channel: usize = 0;
  if (count == 4) {
    for (; channel + 48 <= pixelBytes; channel += 48) {
      propagate12(errors, bytes, used, weights + channel, pixelBytes, sums);
      for (let position = 0; position < 4; position++) {
        const pixel = x + position * layer.stride;
        if (<u32>pixel >= <u32>layer.inputWidth) continue;
        const at = row + <usize>pixel * pixelBytes + channel;
        const sum = sums + <usize>position * 48;
        addError(at, scale, v128.load(sum));
        addError(at + 16, scale, v128.load(sum, 16));
        addError(at + 32, scale, v128.load(sum, 32));
      }
    }
  }
  for (; channel < pixelBytes; channel += 16) {
    for (let position = 0; position < count; position++) {
      const pixel = x + position * layer.stride;
      if (<u32>pixel >= <u32>layer.inputWidth) continue;
      addError(row + <usize>pixel * pixelBytes + channel, scale, propagate1(errors + <usize>position * bytes, used, weights + channel, pixelBytes));
    }
  }
}

/** errorsIn[row][pixel][channel, padded] = Σ error · weight over all windows that hold the input, times its scale. */
export function propagate(layer: Layer, errorsIn: usize): void {
  const channels = (layer.inputChannels + 3) & ~3;
  const inputRowBytes = <usize>(layer.inputWidth * channels) << 2;
  const weightBytes = <usize>(layer.outputs * channels) << 2;
  memory.fill(errorsIn, 0, inputRowBytes * layer.inputHeight);
  for (let row = 0; row < layer.outputHeight; row++) {
    for (let column = 0; column < layer.outputWidth; column += 4) {
      const errors = layer.errors + <usize>(row * layer.outputWidth + column) * rowBytes(layer);
      const count = min(4, layer.outputWidth - column);
      for (let ky = 0; ky < layer.kernelHeight; ky++) {
        const y = row * layer.stride - layer.padding + ky;
        if (<u32>y >= <u32>layer.inputHeight) continue;
        let weights = layer.transposed + <usize>(ky * layer.kernelWidth) * weightBytes;
        for (let kx = 0; kx < layer.kernelWidth; kx++, weights += weightBytes) {
          const x = column * layer.stride - layer.padding + kx;
          propagatePixel(layer, errors, weights, column, count, x, errorsIn + <usize>y * inputRowBytes);
        }
      }
    }
  }
}

/**
 * One timestep of leaky integrate-and-fire neurons in the published order, [position][output]. Whoever fired is above the threshold still, so that spikes
 * need no place of their own. @param before membranes of the timestep before; 0 in the first
 */
export function fire(layer: Layer, before: usize, membranes: usize): void {
  const leak = f32x4.splat(layer.leak);
  const slope = f32x4.splat(layer.slope);
  const threshold = f32x4.splat(layer.threshold);
  const currents = layer.currents;
  const bytes = <usize>(layer.outputHeight * layer.outputWidth) * rowBytes(layer);
  for (let at: usize = 0; at < bytes; at += 16) {
    let membrane = v128.load(currents + at);
    if (before != 0) {
      const last = v128.load(before + at);
      membrane = f32x4.add(membrane, v128.andnot(f32x4.mul(leak, last), f32x4.gt(last, threshold)));
    }
    v128.store(membranes + at, f32x4.max(membrane, f32x4.mul(membrane, slope)));
  }
}

/**
 * The same timestep backwards: the errors of the timestep after become those of this one.
 * @param errorsOut ∂L/∂(what the layer hands on), [row][pixel][channel, padded], of the pool's output
 */
export function fireBackwards(layer: Layer, errorsOut: usize, membranes: usize): void {
  const leak = f32x4.splat(layer.leak);
  const slope = f32x4.splat(layer.slope);
  const threshold = f32x4.splat(layer.threshold);
  const surrogateWindow = f32x4.splat(layer.surrogateWindow);
  const bytes = rowBytes(layer);
  const size = layer.poolSize;
  const columns = layer.outputWidth / size;
  let errors = layer.errors;
  for (let row = 0; row < layer.outputHeight; row++) {
    for (let column = 0; column < layer.outputWidth; column++, errors += bytes, membranes += bytes) {
      const from = errorsOut + <usize>(row / size * columns + column / size) * bytes;
      for (let at: usize = 0; at < bytes; at += 16) {
        const membrane = v128.load(membranes + at);
        const leaked = f32x4.mul(leak, v128.load(errors + at));
        const isNear = f32x4.lt(f32x4.abs(f32x4.sub(membrane, threshold)), surrogateWindow);
        const ofSpike = v128.and(f32x4.sub(v128.load(from + at), f32x4.mul(leaked, membrane)), isNear);
        const error = f32x4.add(ofSpike, v128.andnot(leaked, f32x4.gt(membrane, threshold)));
        v128.store(errors + at, v128.bitselect(f32x4.mul(error, slope), error, f32x4.lt(membrane, f32x4.splat(0))));
      }
    }
  }
}

/** Counts spikes over squares: membranes [position][output] to codes, uint8 [row][pixel][channel]. Up to three bytes past the last are cleared. */
export function pool(layer: Layer, membranes: usize, codes: usize): void {
  const threshold = f32x4.splat(layer.threshold);
  const size = layer.poolSize;
  const bytes = rowBytes(layer);
  const channels = <usize>layer.outputChannels;
  for (let row = 0; row < layer.outputHeight / size; row++) {
    for (let column = 0; column < layer.outputWidth / size; column++, codes += channels) {
      const square = membranes + <usize>(row * size * layer.outputWidth + column * size) * bytes;
      for (let channel: usize = 0; channel < channels; channel += 4) {
        let counts = i32x4.splat(0);
        for (let dy = 0; dy < size; dy++) {
          for (let dx = 0; dx < size; dx++) {
            const at = square + <usize>(dy * layer.outputWidth + dx) * bytes + (channel << 2);
            counts = i32x4.sub(counts, f32x4.gt(v128.load(at), threshold));
          }
        }
        const halves = i16x8.narrow_i32x4_s(counts, counts);
        v128.store_lane<i32>(codes + channel, i8x16.narrow_i16x8_u(halves, halves), 0);
      }
    }
  }
}
