import type { File as Hdf5File } from 'h5wasm';
import { endsInTime } from './hdf5-probe.js';
import { problemOf } from './refusal.js';

export type { Dataset, File as Hdf5File, Group } from 'h5wasm';

type Library = typeof import('h5wasm');
type FileSystem = { writeFile(path: string, bytes: Uint8Array): void; readFile(path: string): Uint8Array; unlink(path: string): void };
interface Loaded { readonly library: Library; readonly memory: FileSystem }

/** The library keeps its files in a memory of its own; one at a time is there. */
const place = '/file.h5';

let loaded: Promise<Loaded> | undefined;

/** Half a second and 5 MB that only those pay who use HDF5. */
function load(): Promise<Loaded> {
  loaded ??= (async () => {
    const library = await import('h5wasm');
    const module = await library.ready;
    // What it refuses is told by our error; its own account would stand in the middle of stderr.
    (module as unknown as { activate_throwing_error_handler?: () => void }).activate_throwing_error_handler?.();
    return { library, memory: (module as unknown as { FS: FileSystem }).FS };
  })();
  return loaded;
}

/** The bytes of an HDF5 file that somebody fills. */
export async function writeHdf5File(fill: (file: Hdf5File) => void): Promise<Uint8Array> {
  const { library, memory } = await load();
  const file = new library.File(place, 'w');
  try {
    fill(file);
  } finally {
    file.close();
  }
  const bytes = memory.readFile(place).slice();
  memory.unlink(place);
  return bytes;
}

export interface Hdf5Reader<Result> {
  /** Name of the file, for messages. */
  readonly label: string;
  /** That a dataset may have. */
  readonly elements: number;
  readonly refuse: (label: string, problem: string, details?: { cause?: unknown }) => never;
  read(file: Hdf5File): Result;
}

/**
 * Reads an HDF5 file that may be damaged.
 * @throws what `refuse` throws where it is none, or the library does not come to an end with it; and what `read` throws
 */
export async function readHdf5File<Result>(bytes: Uint8Array, { label, elements, refuse, read }: Hdf5Reader<Result>): Promise<Result> {
  if (!(await endsInTime(bytes, elements))) return refuse(label, 'is damaged: the HDF5 library does not come to an end with it');
  const { library, memory } = await load();
  memory.writeFile(place, bytes);
  let file: Hdf5File | undefined;
  try {
    file = new library.File(place, 'r');
    return read(file);
  } catch (error) {
    if (error instanceof Error && error.name === 'MacroError') throw error;
    return refuse(label, `is not a readable HDF5 file: ${problemOf(error).split('\n')[0].slice(0, 200)}`, { cause: error });
  } finally {
    try {
      file?.close();
    } finally {
      memory.unlink(place);
    }
  }
}
