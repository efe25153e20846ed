// The arithmetic of training, in float32 SIMD. Events are sparse, so the forward pass and the weight gradient visit only inputs that are not
// zero. Outputs lie position by position, channels innermost and padded to a multiple of four. No relaxed SIMD: the same bits everywhere.

/** currents[position][output] = Σ input · weights[channel, ky, kx][output]; stride 1. */
export function convolve(
  input: usize, channels: i32, height: i32, width: i32, scale: f32, weights: usize, outputs: i32, kernel: i32, padding: i32, currents: usize,
): void {
  const outputHeight = height + 2 * padding - kernel + 1;
  const outputWidth = width + 2 * padding - kernel + 1;
  memory.fill(currents, 0, <usize>(outputHeight * outputWidth * outputs * 4));
  const rowBytes = <usize>(outputs * 4);
  for (let channel = 0; channel < channels; channel++) {
    for (let y = 0; y < height; y++) {
      for (let x = 0; x < width; x++) {
        const count = load<u8>(input + <usize>((channel * height + y) * width + x));
        if (count == 0) continue;
        const value = f32x4.splat(<f32>count * scale);
        for (let ky = 0; ky < kernel; ky++) {
          const row = y + padding - ky;
          if (row < 0 || row >= outputHeight) continue;
          for (let kx = 0; kx < kernel; kx++) {
            const column = x + padding - kx;
            if (column < 0 || column >= outputWidth) continue;
            let weight = weights + <usize>((channel * kernel + ky) * kernel + kx) * rowBytes;
            let current = currents + <usize>(row * outputWidth + column) * rowBytes;
            const end = current + rowBytes;
            while (current < end) {
              v128.store(current, f32x4.add(v128.load(current), f32x4.mul(value, v128.load(weight))));
              current += 16;
              weight += 16;
            }
          }
        }
      }
    }
  }
}

/** gradient[channel, ky, kx][output] += Σ input · errors[position][output]. */
export function addWeightGradient(
  input: usize, channels: i32, height: i32, width: i32, scale: f32, errors: usize, outputs: i32, kernel: i32, padding: i32, gradient: usize,
): void {
  const outputHeight = height + 2 * padding - kernel + 1;
  const outputWidth = width + 2 * padding - kernel + 1;
  const rowBytes = <usize>(outputs * 4);
  for (let channel = 0; channel < channels; channel++) {
    for (let y = 0; y < height; y++) {
      for (let x = 0; x < width; x++) {
        const count = load<u8>(input + <usize>((channel * height + y) * width + x));
        if (count == 0) continue;
        const value = f32x4.splat(<f32>count * scale);
        for (let ky = 0; ky < kernel; ky++) {
          const row = y + padding - ky;
          if (row < 0 || row >= outputHeight) continue;
          for (let kx = 0; kx < kernel; kx++) {
            const column = x + padding - kx;
            if (column < 0 || column >= outputWidth) continue;
            let slope = gradient + <usize>((channel * kernel + ky) * kernel + kx) * rowBytes;
            let error = errors + <usize>(row * outputWidth + column) * rowBytes;
            const end = error + rowBytes;
            while (error < end) {
              v128.store(slope, f32x4.add(v128.load(slope), f32x4.mul(value, v128.load(error))));
              error += 16;
              slope += 16;
            }
          }
        }
      }
    }
  }
}

/** errorsIn[channel, y, x] = scale · Σ weights · errors over all outputs that see the input. */
export function propagate(
  errors: usize, channels: i32, height: i32, width: i32, scale: f32, weights: usize, outputs: i32, kernel: i32, padding: i32, errorsIn: usize,
): void {
  const outputHeight = height + 2 * padding - kernel + 1;
  const outputWidth = width + 2 * padding - kernel + 1;
  const rowBytes = <usize>(outputs * 4);
  for (let channel = 0; channel < channels; channel++) {
    for (let y = 0; y < height; y++) {
      for (let x = 0; x < width; x++) {
        let sum = f32x4.splat(0);
        for (let ky = 0; ky < kernel; ky++) {
          const row = y + padding - ky;
          if (row < 0 || row >= outputHeight) continue;
          for (let kx = 0; kx < kernel; kx++) {
            const column = x + padding - kx;
            if (column < 0 || column >= outputWidth) continue;
            let weight = weights + <usize>((channel * kernel + ky) * kernel + kx) * rowBytes;
            let error = errors + <usize>(row * outputWidth + column) * rowBytes;
            const end = error + rowBytes;
            while (error < end) {
              sum = f32x4.add(sum, f32x4.mul(v128.load(error), v128.load(weight)));
              error += 16;
              weight += 16;
            }
          }
        }
        const total = f32x4.extract_lane(sum, 0) + f32x4.extract_lane(sum, 1) + (f32x4.extract_lane(sum, 2) + f32x4.extract_lane(sum, 3));
        store<f32>(errorsIn + <usize>(((channel * height + y) * width + x) * 4), total * scale);
      }
    }
  }
}

/** One timestep of leaky integrate-and-fire neurons in the published order. Membranes and spikes of the timestep before may be 0. */
export function fire(
  currents: usize, membranesBefore: usize, spikesBefore: usize, membranes: usize, spikes: usize, count: i32, leak: f32, slope: f32, threshold: f32,
): void {
  for (let index = 0; index < count; index++) {
    const at = <usize>(index * 4);
    let membrane = load<f32>(currents + at);
    if (membranesBefore != 0 && load<u8>(spikesBefore + <usize>index) == 0) membrane += leak * load<f32>(membranesBefore + at);
    if (membrane < 0) membrane *= slope;
    store<f32>(membranes + at, membrane);
    store<u8>(spikes + <usize>index, membrane > threshold ? 1 : 0);
  }
}

/**
 * The same timestep backwards. `errors` holds ∂L/∂(spike) from the layer above and becomes ∂L/∂(current); `carried` holds ∂L/∂(current) of the
 * timestep after and becomes that of this one. The surrogate of the spike's slope is 1 where |membrane − threshold| < window.
 */
export function fireBackwards(
  errors: usize, carried: usize, membranes: usize, spikes: usize, count: i32, leak: f32, slope: f32, threshold: f32, window: f32,
): void {
  for (let index = 0; index < count; index++) {
    const at = <usize>(index * 4);
    const membrane = load<f32>(membranes + at);
    const after = load<f32>(carried + at);
    const spikeError = load<f32>(errors + at) - after * leak * membrane;
    const distance = membrane - threshold;
    let error = distance < window && distance > -window ? spikeError : 0;
    if (load<u8>(spikes + <usize>index) == 0) error += after * leak;
    if (membrane < 0) error *= slope;
    store<f32>(errors + at, error);
    store<f32>(carried + at, error);
  }
}

/** Counts spikes over size × size: [position][channel] to [channel][position], uint8. `stride` is the padded number of channels. */
export function pool(spikes: usize, channels: i32, stride: i32, height: i32, width: i32, size: i32, counts: usize): void {
  const rows = height / size;
  const columns = width / size;
  for (let channel = 0; channel < channels; channel++) {
    for (let row = 0; row < rows; row++) {
      for (let column = 0; column < columns; column++) {
        let count: u8 = 0;
        for (let dy = 0; dy < size; dy++) {
          for (let dx = 0; dx < size; dx++) {
            count += load<u8>(spikes + <usize>(((row * size + dy) * width + column * size + dx) * stride + channel));
          }
        }
        store<u8>(counts + <usize>((channel * rows + row) * columns + column), count);
      }
    }
  }
}

/** The errors of counts back to the spikes that were counted. */
export function unpool(errorsIn: usize, channels: i32, stride: i32, height: i32, width: i32, size: i32, errors: usize): void {
  const rows = height / size;
  const columns = width / size;
  memory.fill(errors, 0, <usize>(height * width * stride * 4));
  for (let channel = 0; channel < channels; channel++) {
    for (let y = 0; y < rows * size; y++) {
      for (let x = 0; x < columns * size; x++) {
        const error = load<f32>(errorsIn + <usize>(((channel * rows + y / size) * columns + x / size) * 4));
        store<f32>(errors + <usize>(((y * width + x) * stride + channel) * 4), error);
      }
    }
  }
}
