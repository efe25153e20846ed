import type { MultipartFile } from '@fastify/multipart';
import type { FastifyRequest } from 'fastify';
import { MacroError } from '../../proto/error.js';

export interface UploadedFile {
  readonly name: string;
  readonly bytes: Uint8Array;
}

export interface UploadLimits {
  readonly files: number;
  readonly fileBytes: number;
  readonly totalBytes: number;
}

const nameCharacters = 512;

/** Collects files up to the limits; after a first error it only counts, so that the sender can finish and read the answer. */
class Collection {
  readonly files: UploadedFile[] = [];
  error: MacroError | undefined;
  #bytes = 0;

  constructor(private readonly fieldName: string, private readonly limits: UploadLimits) {}

  async take(part: MultipartFile): Promise<void> {
    const bytes = await this.#read(part);
    if (this.error !== undefined) return;
    this.error = this.#problem(part, bytes);
    if (this.error === undefined) this.files.push({ name: part.filename, bytes });
  }

  async #read(part: MultipartFile): Promise<Uint8Array> {
    if (this.error === undefined) return new Uint8Array(await part.toBuffer());
    for await (const _ of part.file);
    return new Uint8Array();
  }

  #problem({ fieldname, filename }: MultipartFile, bytes: Uint8Array): MacroError | undefined {
    const { files, totalBytes } = this.limits;
    this.#bytes += bytes.length;
    const refuse = (problem: string) => new MacroError('BAD_REQUEST', problem, { field: fieldname.slice(0, nameCharacters) });
    if (fieldname !== this.fieldName) return refuse(`the form has a part that is not called "${this.fieldName}"`);
    if (typeof filename !== 'string' || filename === '' || filename.length > nameCharacters) {
      return refuse(`part ${this.files.length + 1} needs a file name of 1 to ${nameCharacters} characters`);
    }
    const tooMuch = (what: string) => new MacroError('REQUEST_TOO_LARGE', `more than ${what} came at once`, { field: fieldname });
    if (this.files.length === files) return tooMuch(`${files} files`);
    return this.#bytes > totalBytes ? tooMuch(`${totalBytes} bytes`) : undefined;
  }
}

/**
 * The files of a multipart form, all in parts of one name.
 *
 * @throws MacroError MEDIA_UNSUPPORTED where the body is no form, BAD_REQUEST naming a part that is not known, REQUEST_TOO_LARGE
 */
export async function uploadedFiles(request: FastifyRequest, fieldName: string, limits: UploadLimits): Promise<UploadedFile[]> {
  if (!request.isMultipart()) throw new MacroError('MEDIA_UNSUPPORTED', 'the body is no multipart form');
  const collection = new Collection(fieldName, limits);
  // One part more than allowed is let in, so that the refusal comes from here and names the limit.
  const { files, fileBytes } = limits;
  const partLimits = { fileSize: fileBytes, files: files + 2, parts: files + 16, fieldNameSize: nameCharacters };
  for await (const part of request.parts({ preservePath: true, limits: partLimits })) {
    if (part.type === 'file') await collection.take(part);
    else collection.error ??= new MacroError('BAD_REQUEST', `the part "${part.fieldname}" is no file`, { field: part.fieldname });
  }
  if (collection.error !== undefined) throw collection.error;
  return collection.files;
}
