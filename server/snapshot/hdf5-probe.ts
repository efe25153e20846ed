import { Worker } from 'node:worker_threads';

const probeMilliseconds = 10_000;
/** Of groups and datasets: a group may hold itself. */
const looksMaximum = 10_000;

/**
 * What a thread does with a file before this process does the same: damaged files have been seen to send the HDF5 library round for ever, and only a thread
 * can be ended then. Text, because it must run as it stands wherever this file was compiled to.
 */
const program = `
const { parentPort, workerData: { library: place, bytes, elements, looksMaximum } } = require('node:worker_threads');
(async () => {
  const library = await import(place);
  const module = await library.ready;
  module.activate_throwing_error_handler?.();
  module.FS.writeFile('/probe.h5', bytes);
  let looks = 0;
  const look = (entity) => {
    if (entity === null || (looks += 1) > looksMaximum) return;
    for (const attribute of Object.values(entity.attrs ?? {})) attribute.value;
    if (entity.shape?.reduce((product, size) => product * size, 1) <= elements && entity.metadata) entity.value;
    if (entity.keys) for (const name of entity.keys()) look(entity.get(name));
  };
  const file = new library.File('/probe.h5', 'r');
  look(file);
  file.close();
})().catch(() => undefined).finally(() => parentPort.postMessage('ended'));
`;

/** Whether the library comes to an end with a file, be it with an error. @param elements that a dataset may have to be read */
export async function endsInTime(bytes: Uint8Array, elements: number): Promise<boolean> {
  const workerData = { library: import.meta.resolve('h5wasm'), bytes, elements, looksMaximum };
  const worker = new Worker(program, { eval: true, workerData, stdout: true, stderr: true, execArgv: [] });
  let timer: NodeJS.Timeout | undefined;
  try {
    return await new Promise<boolean>((resolve) => {
      timer = setTimeout(() => resolve(false), probeMilliseconds);
      worker.once('message', () => resolve(true));
      worker.once('error', () => resolve(true));
      worker.once('exit', () => resolve(true));
    });
  } finally {
    clearTimeout(timer);
    await worker.terminate();
  }
}
