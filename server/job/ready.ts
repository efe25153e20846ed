import type { Device, HelloAck } from '../../driver/index.js';
import { MacroError } from '../../proto/error.js';

/** Waits for a device, but not longer than its job is wanted. @throws MacroError CANCELLED, DEVICE_UNREACHABLE */
export async function whenReady(device: Device, timeoutMilliseconds: number, signal: AbortSignal): Promise<HelloAck> {
  let onAbort: (() => void) | undefined;
  const stopped = new Promise<never>((_, reject) => {
    onAbort = () => reject(new MacroError('CANCELLED', 'the job was stopped before the device answered'));
    signal.addEventListener('abort', onAbort, { once: true });
    if (signal.aborted) onAbort();
  });
  try {
    return await Promise.race([device.whenReady(timeoutMilliseconds), stopped]);
  } finally {
    if (onAbort) signal.removeEventListener('abort', onAbort);
  }
}
