import { createHash } from 'node:crypto';
import { existsSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { MacroError } from '../../proto/error.js';

/** What became of one step: the job that does it, and its summary once it has succeeded. */
export interface StepRecord {
  readonly job: string;
  readonly summary?: Readonly<Record<string, unknown>>;
}

interface RecipeFile {
  readonly format: typeof format;
  /** SHA-256 of what was asked for: another recipe has other steps. */
  readonly asked: string;
  readonly chipId: string;
  readonly steps: Readonly<Record<string, StepRecord>>;
}

const format = 'prime-recipe/1';
export const recipeFile = 'bring-up.json';

/** Steps that were taken on a chip, in a file that is whole or as it was: whoever begins again goes on behind the last that succeeded. */
export class Recipe {
  private constructor(private readonly path: string, private file: RecipeFile) {}

  /**
   * @param asked everything that decides what the steps are
   * @throws MacroError BAD_ARGUMENT where the folder holds steps of another chip, or others than are asked for
   */
  static open(folder: string, asked: object, chipId: string): Recipe {
    const path = join(folder, recipeFile);
    const fresh = { format, asked: createHash('sha256').update(JSON.stringify(asked)).digest('hex'), chipId, steps: {} } as const;
    if (!existsSync(path)) return new Recipe(path, fresh);
    const found = readRecipe(path);
    const differs = found.chipId !== chipId ? `chip ${found.chipId}, and this is ${chipId}` : found.asked === fresh.asked ? undefined : 'other options or data';
    if (differs === undefined) return new Recipe(path, found);
    throw new MacroError('BAD_ARGUMENT', `${path} tells of a bring-up with ${differs}; name another folder to begin anew`, { field: 'out' });
  }

  step(name: string): StepRecord | undefined {
    return this.file.steps[name];
  }

  keep(name: string, record: StepRecord): void {
    this.file = { ...this.file, steps: { ...this.file.steps, [name]: record } };
    writeFileSync(`${this.path}.tmp`, `${JSON.stringify(this.file, null, 1)}\n`);
    renameSync(`${this.path}.tmp`, this.path);
  }
}

function readRecipe(path: string): RecipeFile {
  try {
    const found = JSON.parse(readFileSync(path, 'utf8')) as RecipeFile;
    if (found.format === format) return found;
  } catch { /* no JSON: no recipe */ }
  throw new MacroError('BAD_ARGUMENT', `${path} is no record of a bring-up; name another folder, or take it away to begin anew`, { field: 'out' });
}
